#pragma once
// sqlite3_config is variadic, and Swift calls no such function. Declared here and not included: GRDB's module has the rest.
int sqlite3_config(int, ...);

/// sqlite.org/c3ref/c_config_covering_index_scan.html#sqliteconfigmemstatus: SQLite keeps no account of its memory, for
/// which each allocation would take a lock. Not 0 once SQLite is in use: then it stays as it is.
static inline int sqlite_keep_no_memory_statistics(void) {
    enum { SQLITE_CONFIG_MEMSTATUS = 9 };
    return sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
}
