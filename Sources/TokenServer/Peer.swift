import CLinux
import Glibc
import TokenModel

/// What the kernel said of a peer at connect (unix(7), SO_PEERCRED and SO_PEERGROUPS).
struct PeerCredentials: Sendable {
    let pid: pid_t
    let uid: uid_t
    let gid: gid_t
    let groups: [gid_t]

    /// A process may be in 65,536 groups (NGROUPS_MAX, credentials(7)).
    private static let mostGroups = 65_536

    /// Asks the kernel, or gives nil where it does not say.
    init?(descriptor: CInt) {
        var pid = pid_t()
        var uid = uid_t()
        var gid = gid_t()
        guard linux_peer_credentials(descriptor, &pid, &uid, &gid) == 0 else { return nil }
        var groups = [gid_t](repeating: 0, count: 32)
        while true {
            var count = CUnsignedInt(groups.count)
            if linux_peer_groups(descriptor, &groups, &count) == 0 {
                groups.removeLast(groups.count - Int(count))
                break
            }
            guard errno == ERANGE, Int(count) <= Self.mostGroups, Int(count) > groups.count else { return nil }
            groups = [gid_t](repeating: 0, count: Int(count))
        }
        self.init(pid: pid, uid: uid, gid: gid, groups: groups)
    }

    init(pid: pid_t, uid: uid_t, gid: gid_t, groups: [gid_t]) {
        self.pid = pid
        self.uid = uid
        self.gid = gid
        self.groups = groups
    }

    /// Whom the connection is charged to without a name: its uid. A user may have tens of thousands of uids that are
    /// delegated (subuid(5)), so those are one account together; so are those that systemd gives its services, apart from the
    /// others, for no user can take one of them.
    var account: UInt32 {
        if Principal.mayOwn(uid: uid, hasName: false) { return uid }
        return Principal.isRecycled(uid: uid) ? Self.recycledAccount : Self.delegatedAccount
    }

    /// Whom it is charged to until NSS has answered. Users of a directory have uids that look delegated: whoever holds all the
    /// room of those must not keep them from being asked for.
    var firstAccount: UInt32 { account == Self.delegatedAccount ? Self.unnamedAccount : account }

    /// No user has these uids: chown(2) takes them for "none", of 32 bits and of 16.
    static let delegatedAccount = UInt32.max
    static let recycledAccount: UInt32 = 65_535
    /// Nor does one have this, in practice; it would share a room that is empty but for moments.
    static let unnamedAccount = UInt32.max - 1

    /// Whether an account is of several users, so that none of them is to be named for it.
    static func isShared(_ account: UInt32) -> Bool {
        [delegatedAccount, recycledAccount, unnamedAccount].contains(account)
    }

    func isMember(of group: gid_t?) -> Bool {
        guard let group else { return false }
        return gid == group || groups.contains(group)
    }

    /// Root, or the user whose own daemon this is.
    func isOwner(ownUID: uid_t) -> Bool { uid == 0 || uid == ownUID }

    /// The caller, once NSS has said who the uid is.
    func caller(_ identity: Identity, process: PeerProcess, account: UInt32, ownUID: uid_t) -> Caller {
        Caller(
            principal: Principal.user(name: identity.userName, uid: uid), uid: uid, gid: gid, account: account,
            process: process,
            isAdministrator: isOwner(ownUID: ownUID) || isMember(of: identity.administrators),
            isVerifier: isMember(of: identity.verifiers))
    }
}
