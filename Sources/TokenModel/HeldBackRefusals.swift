/// Refusals of one caller, presented tokens that were ended among them, that have no record of their own.
public struct HeldBackRefusals: Equatable, Sendable {
    /// Nil where it could not be looked up, or many share the count.
    public let principal: Principal?
    /// Nil where many share the count.
    public let uid: UInt32?
    public let count: Int64

    /// Says whose they were, and how many.
    public init(principal: Principal?, uid: UInt32?, count: Int64) {
        self.principal = principal
        self.uid = uid
        self.count = count
    }
}
