import Testing

@testable import TokenRPC

struct DuplicateKeyTests {
    @Test(arguments: [
        #"{"a":1,"a":1}"#, #"{"a":1,"b":2,"a":3}"#, #"{"a":1,"\u0061":2}"#, #"{"\u0061":1,"\u0061":2}"#,
        #"{"":1,"":2}"#,
        #"{"x":{"a":1,"a":2}}"#, #"[0,[{"k":{"a":1,"b":[{"q":1,"q":2}]}}]]"#, #"{"\n":1,"\u000A":2}"#,
        #"{"/":1,"\/":2}"#,
        #"{"😀":1,"\ud83d\ude00":2}"#, #"{"\u0000":1,"\u0000":2}"#, #"{"é":1,"\u00e9":2}"#,
        #"{"a":{"b":1},"c":{"b":1},"a":0}"#,
        #"{"1":0,"2":0,"3":0,"4":0,"5":0,"6":0,"7":0,"8":0,"9":0,"1":0}"#,
        #"{"1":0,"2":0,"3":0,"4":0,"5":0,"6":0,"7":0,"7":0}"#,
    ])
    func found(_ text: String) {
        #expect(verdict(text) == .duplicateKey)
    }

    @Test(arguments: [
        #"{"a":1,"b":1}"#, #"{"a":1,"A":1}"#, #"{"a":{"a":{"a":1}}}"#, #"[{"a":1},{"a":1}]"#, #"{"a":"a","b":"a"}"#,
        #"{"a":["a","a"]}"#, #"{"a":1,"a ":2,"":3}"#, #"{"\\u0061":1,"a":2}"#, #"{"x":"y","y":"x"}"#,
        #"{"a\u0000":1,"a":2}"#,
        // The same to a reader, not the same bytes.
        "{\"\u{E9}\":1,\"e\u{301}\":2}",
        #"{"1":0,"2":0,"3":0,"4":0,"5":0,"6":0,"7":0,"8":0,"9":0,"10":0}"#,
    ])
    func absent(_ text: String) {
        #expect(verdict(text) == .document)
    }

    @Test(
        "what is not JSON is that, whatever it repeats",
        arguments: [
            #"{"a":1,"a":2"#, #"{"a":1,"a":2}}"#, #"{"a":1,"a":}"#, #"[{"a":1,"a":2},]"#,
        ])
    func onlyInJSON(_ text: String) {
        guard case .notJSON = verdict(text) else {
            Issue.record("\(text)")
            return
        }
    }

    @Test("at each place, in objects of each size, plain and escaped", arguments: [2, 3, 7, 8, 9, 10, 100, 1_000])
    func everyPlace(_ size: Int) {
        let names = (0..<size).map { "key\($0)" }
        func object(_ names: [String]) -> String { "{" + names.map { "\"\($0)\":0" }.joined(separator: ",") + "}" }
        #expect(verdict(object(names)) == .document)
        for place in stride(from: 0, to: size, by: max(1, size / 10)) {
            for other in Set([0, 1, size / 2, size - 1]) where other != place {
                var repeated = names
                repeated[place] = names[other]
                #expect(verdict(object(repeated)) == .duplicateKey)
                repeated[place] = "\\u006b" + names[other].dropFirst()
                #expect(verdict(object(repeated)) == .duplicateKey)
            }
        }
    }

    @Test("the work grows with the number of keys, not with its square")
    func linear() {
        func steps(_ count: Int, _ prefix: String) -> Int {
            let reader = JSONReader()
            let text = "{" + (0..<count).map { "\"\(prefix)\($0)\":0" }.joined(separator: ",") + "}"
            #expect(reader.with(text) { $0 } == .document)
            return reader.keySteps
        }
        for prefix in ["", #"\u0041"#] {
            // One probe a key, and with at most half of the slots taken about half a collision more.
            #expect(steps(16_000, prefix) < 4 * 16_000)
            #expect(steps(128_000, prefix) < 4 * 128_000)
        }
        let reader = JSONReader()
        let small =
            "["
            + Array(repeating: #"{"a":0,"b":0,"c":0,"d":0,"e":0,"f":0,"g":0,"h":0}"#, count: 2_000)
            .joined(separator: ",") + "]"
        #expect(reader.with(small) { $0 } == .document)
        #expect(reader.keySteps == 28 * 2_000)
    }

    @Test("16,000 keys, the last two the same")
    func lastOfMany() {
        let text = "{" + ((0..<15_999).map(String.init) + ["15998"]).map { "\"\($0)\":0" }.joined(separator: ",") + "}"
        #expect(verdict(text) == .duplicateKey)
    }
}
