/// MESSAGE_ID of what an administrator may want to look up: `journalctl -x` explains each from
/// systemd/scaem-tokend.catalog, `journalctl MESSAGE_ID=…` finds it. Made once with `journalctl --new-id128`; an id never
/// changes its meaning. A test holds this list and the catalog against each other.
public enum MessageID: String, CaseIterable, Sendable {
    case ready = "bbaf4a000b1c4a209e58f166ffaea281"
    case stopping = "90565281c382486c94c52dbf2e8167df"
    case stopped = "9dcd6db4541a4045b955656732d3e5e6"
    case cannotStart = "d6eb72d5bec04359a26bb83bb42c6ae1"
    case configurationWrong = "57039769d21840048587c8e93a318b5f"
    case databaseUnusable = "3dd953bb6eb84a5494c61a6ccfe1d9c1"
    case databaseOpened = "6e95c94c283240dcbc44be9a04b15aa6"
    case configurationReloaded = "560755a87ff1420aa6c26591b360cfab"
    case configurationKept = "de05969336a2419fbfafe8991b170de6"
    case waitsForNextStart = "0e8f8f7ae03f4621bc62c4cebe134b61"
    case storageRefuses = "2d1aca40f2e9480bb59da1822a24363c"
    case storageRecovered = "895912c748b64a0da13f504376255475"
    case commitUnknown = "0a333817d07d4716a6cc698597f1f43f"
    case invariantBroken = "ba45b3a7183a41abb5901c154fddfc03"
    case databaseOlder = "860897d4aef247a4afbf1e371a61b7c6"
    case journalTakes = "8f26276776c24bc483c50ef46d65acfd"
    case journalAway = "83cf7ff8f21e4c578a5c31e29c57a40c"
    case journalUnreadable = "a187e6eaa761453b84434482003a0bbb"
    case journalVolatile = "9dcfd8664ec04aa38e7a4a992f290585"
    case journalLags = "c7fa2c7213f2477f8dac0aa8b2ea6884"
    case journalLacks = "7cceec1d214b42d1b942d0660801e9ac"
    case checkpointFailed = "ff96933c797340acb7159aad03e6493f"
    case randomnessFailed = "5c7e9d3cf55040f6b98e5b2cd4a829f6"
    case noCallersGroup = "24a4e3dec0ff493fb6e65b2603c418c5"
    case fewDescriptors = "aeea046d080b49ebb3ff7242f63f1ac4"
    case noDescriptors = "f9ce91f164fc43feabb29d0a779faf8c"
    case tooManyConnections = "abd536e740504cbeac6d9588cabea7f1"
    case unreadAnswers = "1bc995067d57418a9ccfeed08b17589e"
    case lookupFailed = "3a5f7643424f4518a3a8c0800c5f4784"
    case memoryNotLocked = "3cf6d3f8b9f448f7aa5a62313268169d"
    case recordsDropped = "4a5ee5526d124e26b56e5157fcfb2b8f"
    case slowDisk = "8dc92880e5ca466786ad7b42ac32a9ef"
    case partStuck = "36af7f07f06c43fdb626a9501efbd132"
}

extension MessageID {
    /// Under which key of a log line's metadata the id travels to the backend.
    public static let key = "message_id"
}
