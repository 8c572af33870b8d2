/// The bounds and defaults of what callers may ask for. Each may be configured, within these.
public enum TokenLimits {
    /// A token's time to live. Below a minute a service cannot fetch and use it in peace; above a year nobody rotates.
    public static let ttlSeconds: ClosedRange<Int64> = 60...31_536_000
    /// 60 days.
    public static let defaultTTLSeconds: Int64 = 5_184_000
    /// How long a token that was replaced stays good. A day lets every consumer restart once; more would make a leaked
    /// token outlive its rotation.
    public static let graceSeconds: ClosedRange<Int64> = 0...86_400
    /// None: who asks for no grace means the old token to be dead.
    public static let defaultGraceSeconds: Int64 = 0
    /// Previous tokens alive at once an application and project: a lost answer may be repeated twice without cutting
    /// off who holds an earlier one, and a row stays small.
    public static let maxPrevious = 3
    /// Tokens an owner, so that one user cannot fill the memory of all.
    public static let tokensPerOwner = 10_000
}
