import TokenModel

/// The wire's limits and words: daemon and client use the same. docs/protocol.md describes them for callers.
public enum Wire {
    /// A line's length with its LF. A request of this protocol is some 200 bytes, a full batch of them some 30 KiB:
    /// twice that, so that a connection's input buffer stays small and has an end.
    public static let maxLineBytes = 65_536
    /// Entries of a batch. What a batch may ask of the daemon before anybody else is heard has to end somewhere.
    public static let maxBatch = 128
    /// How deep arrays and objects nest, the outermost included. Four levels are in use; a bound keeps the reader's
    /// state small and refuses what is made to exhaust a recursive reader elsewhere.
    public static let maxDepth = 32
    /// An answer line's length with its LF: a page of 1,000 rows of `list` with ordinary names, and what a client must
    /// be ready to hold.
    public static let maxAnswerBytes = 1_048_576
    /// The number that `status` gives as `protocol`; a change that breaks callers raises it.
    public static let protocolVersion = 1
    /// How much of an unknown parameter's name an error repeats. Our own names are at most 14 bytes long.
    public static let maxEchoedNameBytes = 64

    /// The value of every message's `jsonrpc`.
    public static let version: StaticString = "2.0"
    /// `token_type` of credentials and of `introspect` (RFC 6750).
    public static let tokenType: StaticString = "Bearer"
    /// The method of the notifications that `watch` brings.
    public static let eventNotification: StaticString = "event"
    /// The method of the last notification of a watch that the daemon ends.
    public static let errorNotification: StaticString = "error"
    /// What every token begins with.
    public static let tokenPrefix: StaticString = TokenSecret.prefix

    /// The keys of params, all methods together.
    public enum Key {
        /// What a token is issued to; left out, the caller itself.
        public static let application: StaticString = "application"
        /// Where the next page of `list` begins.
        public static let cursor: StaticString = "cursor"
        /// A time, exclusive.
        public static let expiresBefore: StaticString = "expires_before"
        /// How long the token that a `rotate` replaces stays good.
        public static let graceSeconds: StaticString = "grace_seconds"
        /// Rows of a page.
        public static let limit: StaticString = "limit"
        /// What a token is good for.
        public static let projectCode: StaticString = "project_code"
        /// The last sequence number that a watcher saw.
        public static let since: StaticString = "since"
        /// A token that is presented.
        public static let token: StaticString = "token"
        /// A token's time to live.
        public static let ttlSeconds: StaticString = "ttl_seconds"
    }

    /// The keys of an error's `data`.
    public enum ErrorData {
        /// What is wrong with a configuration: an array of sentences.
        public static let errors: StaticString = "errors"
        /// `Wire.maxBatch`, with `batch_too_large`.
        public static let maxBatch: StaticString = "max_batch"
        /// `Wire.maxLineBytes`, with `line_too_long`.
        public static let maxLineBytes: StaticString = "max_line_bytes"
        /// How many there may be, with `quota_exceeded`.
        public static let limit: StaticString = "limit"
        /// The method that helps.
        public static let next: StaticString = "next"
        /// The parameter that is wrong.
        public static let param: StaticString = "param"
        /// The word for what is wrong; in every error.
        public static let reason: StaticString = "reason"
        /// When to try again.
        public static let retryAfterMilliseconds: StaticString = "retry_after_ms"
    }
}
