import Testing

@testable import TokenModel

private func digest(_ text: String) -> TokenDigest {
    var text = text
    return text.withUTF8 { TokenDigest(hashing: UnsafeRawBufferPointer($0)) }
}

private func isWellFormed(_ text: String) -> Bool {
    var text = text
    return text.withUTF8 { TokenSecret.isWellFormed(UnsafeRawBufferPointer($0)) }
}

/// Gives the same byte for ever, or fails.
private struct Monotone: RandomSource {
    let byte: UInt8?

    func fill(_ buffer: UnsafeMutableRawBufferPointer) throws {
        guard let byte else { throw RandomError(errno: 5) }
        buffer.initializeMemory(as: UInt8.self, repeating: byte)
    }
}

@Suite struct TokenTests {
    /// FIPS 180-2, appendix B, and the empty text.
    @Test(arguments: [
        ("", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        ("abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        (
            "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"
        ),
    ])
    func hashesAsTheStandardSays(_ text: String, _ hex: String) {
        let digest = digest(text)
        let bytes = digest.withBytes { Array($0) }
        #expect(bytes.map { byte in (byte < 16 ? "0" : "") + String(byte, radix: 16) }.joined() == hex)
        #expect(digest.fingerprint.description == String(hex.prefix(16)))
        #expect(bytes.withUnsafeBytes { TokenDigest(bytes: $0) } == digest)
        var room = [UInt8](repeating: 0, count: 32)
        room.withUnsafeMutableBytes { digest.write(to: $0.baseAddress!) }
        #expect(room == bytes)
        #expect(bytes.dropLast().withUnsafeBytes { TokenDigest(bytes: $0) } == nil)
    }

    @Test func digestsDifferInAnyBit() {
        let one = TokenDigest(words: (1, 2, 3, 4))
        #expect(one == TokenDigest(words: (1, 2, 3, 4)))
        for other in [(0, 2, 3, 4), (1, 0, 3, 4), (1, 2, 0, 4), (1, 2, 3, 0)] as [(UInt64, UInt64, UInt64, UInt64)] {
            #expect(one != TokenDigest(words: other))
        }
    }

    @Test func checksums() {
        #expect(Array("123456789".utf8).withUnsafeBytes { CRC32.checksum($0) } == 0xCBF4_3926)
        #expect([].withUnsafeBytes { CRC32.checksum($0) } == 0)
        // From an independent CRC-32 (zlib's) over these 58 digits.
        let random = "6O7A2yUY8gNAoc1GSpW1blcphw1EGJ654OGma05ane8jpXrCsAuzdQaoJA"
        #expect(isWellFormed("api_key|" + random + "31XYld"))
        for wrong in [
            "api_key|6O7A2yUY8gNAoc1GSpW1blcphw1EGJ654OGma05ane8jpXrCsAuzdQaoJABzQxII", "", "api_key|",
            "api-key|" + random + "31XYld", "api_key|" + random + "31XYld ", "api_key|" + random,
            "api_key|" + random.replacingFirst("6", "7") + "31XYld",
            "api_key|" + random.replacingFirst("6", "-") + "31XYld",
        ] { #expect(!isWellFormed(wrong), "\(wrong)") }
    }

    @Test func generatedTokensAreWellFormedAndDiffer() throws {
        var seen: Set<TokenDigest> = []
        var digits: [UInt8: Int] = [:]
        for _ in 0..<2_000 {
            let secret = try TokenSecret.generate(from: SystemRandom())
            secret.withBytes { bytes in
                #expect(TokenSecret.isWellFormed(bytes))
                for byte in bytes[8..<66] { digits[byte, default: 0] += 1 }
            }
            seen.insert(secret.digest)
        }
        #expect(seen.count == 2_000)
        // 116,000 draws of 62: 1,871 each, with a deviation of 43. Six deviations fail once in ten million runs.
        #expect(digits.count == 62)
        #expect(digits.values.allSatisfy { abs($0 - 1_871) < 260 })
    }

    @Test func aSecretDoesNotShowItself() throws {
        let secret = try TokenSecret.generate(from: SystemRandom())
        let text = secret.withBytes { String(decoding: $0, as: UTF8.self) }
        var dumped = ""
        dump(secret, to: &dumped)
        for shown in ["\(secret)", String(reflecting: secret), String(describing: Optional(secret)), dumped] {
            #expect(!shown.contains("api_key") && !shown.contains(text.dropFirst(8)))
        }
        #expect(secret.withBytes { TokenSecret(bytes: $0)?.digest } == secret.digest)
        #expect(Array("no token".utf8).withUnsafeBytes { TokenSecret(bytes: $0) } == nil)
    }

    @Test func withoutRandomnessThereIsNoToken() {
        #expect(throws: RandomError.self) { try TokenSecret.generate(from: Monotone(byte: nil)) }
        #expect(throws: RandomError.self) { try TokenSecret.generate(from: Monotone(byte: 255)) }
        #expect(throws: RandomError.self) { try RegistrationID.random(from: Monotone(byte: nil)) }
    }

    @Test func registrationIDsAreVersion4UUIDs() throws {
        let zeros = try RegistrationID.random(from: Monotone(byte: 0))
        #expect(zeros.description == "00000000-0000-4000-8000-000000000000")
        let ones = try RegistrationID.random(from: Monotone(byte: 255))
        #expect(ones.description == "ffffffff-ffff-4fff-bfff-ffffffffffff")
        let text = "dfa45616-e9f9-45be-881e-a1ed8ae70224"
        #expect(RegistrationID(text: text)?.description == text)
        for wrong in ["", text.uppercased(), text + "0", text.replacingFirst("-", "0"), text.replacingFirst("d", "g")] {
            #expect(RegistrationID(text: wrong) == nil)
        }
    }

    @Test func fingerprintsAreSixteenLowerCaseDigits() {
        #expect(Fingerprint(value: 0xAB).description == "00000000000000ab")
        #expect(Fingerprint(text: "00000000000000ab")?.value == 0xAB)
        for wrong in ["", "00000000000000AB", "0000000000000ab", "00000000000000abc", "00000000000000ag"] {
            #expect(Fingerprint(text: wrong) == nil)
        }
    }

    @Test func clocksRun() {
        let clock = SystemClock()
        #expect(clock.wall().milliseconds > 1_700_000_000_000)
        let boot = clock.bootMilliseconds()
        #expect(boot > 0 && clock.bootMilliseconds() >= boot)
    }
}

extension String {
    fileprivate func replacingFirst(_ old: Character, _ new: Character) -> String {
        guard let place = firstIndex(of: old) else { return self }
        return self[..<place] + String(new) + self[index(after: place)...]
    }
}
