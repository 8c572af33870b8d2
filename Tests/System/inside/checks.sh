# In the container, for scripts in sh: `check NAME COMMAND...` runs a command and prints how it went.
check() {
    name=$1
    shift
    if "$@" >/tmp/check.out 2>&1; then
        echo "ok $name"
    else
        echo "not ok $name: $* ended with $?: $(tr '\n' ' ' </tmp/check.out)"
    fi
}
