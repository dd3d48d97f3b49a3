import Testing

@testable import Pipeline

/// What transports do with fields: whole lines in, whole lines out.
@Suite struct HeaderFieldLineTests {
  private func fields(_ lines: [String]) -> HeaderFields {
    var fields = HeaderFields()
    for line in lines { fields.append(line: Array(line.utf8).span) }
    return fields
  }

  private func text(_ fields: HeaderFields) -> String {
    var wire: [UInt8] = []
    fields.withWireBytes { wire.append(copying: $0) }
    return String(decoding: wire, as: UTF8.self)
  }

  /// Lines are searched eight bytes at a time: every length brings the line end to another place of a word.
  @Test func linesOfEveryLengthAreFound() {
    for length in 0..<40 {
      for behind in 0..<10 {
        let value = String(repeating: "\u{7f}", count: length)
        let fields = fields(["a: \(value)", "b:\(String(repeating: "\u{b}", count: behind))", "c: d"])
        #expect(fields["a"] == value)
        #expect(fields["c"] == "d")
        #expect(fields["d"] == nil)
      }
    }
  }

  private func host(_ fields: HeaderFields) -> String? {
    fields.withHost { value in
      guard let value else { return nil }
      return value.withUnsafeBufferPointer { String(decoding: $0, as: UTF8.self) }
    }
  }

  /// Where a parser has seen `host` counts only until a line is changed.
  @Test func hostIsFoundWhateverHappensToTheFields() {
    var parsed = fields(["a: b", "host: one.example", "c: d"])
    #expect(host(parsed) == "one.example")
    parsed.note(names: 0, host: 12..<23)
    #expect(host(parsed) == "one.example")
    var copy = HeaderFields()
    copy.assign(parsed)
    #expect(host(copy) == "one.example")

    func changed(_ change: (inout HeaderFields) -> Void) -> String? {
      var fields = parsed
      change(&fields)
      return host(fields)
    }
    #expect(changed { $0.set("host", "two.example") } == "two.example")
    #expect(changed { $0.set("a", "something longer") } == "one.example")
    #expect(changed { $0.remove("a") } == "one.example")
    #expect(changed { $0.remove("host") } == nil)
    #expect(changed { $0.removeAll { $0.count == 1 } } == "one.example")
    #expect(changed { $0.removeAll { $0.count == 4 } } == nil)
    #expect(changed { $0.removeAll() } == nil)
    #expect(changed { $0.add("x", "y") } == "one.example")
    #expect(changed { $0.append(line: Array("host: behind".utf8).span) } == "one.example")
    #expect(changed { $0.assign(self.fields(["host: other"])) } == "other")
  }

  @Test func linesAreShownWithTheLengthOfTheirNames() {
    var seen: [String] = []
    fields(["a:b", "long-name: c:d", "e: "]).forEachLine { line, nameLength in
      seen.append("\(line.count) \(nameLength)")
    }
    #expect(seen == ["5 1", "16 9", "5 1"])
  }

  @Test func removingByNameKeepsTheOthersInOrder() {
    var fields = fields(["a: 1", "bb: 2", "c: 3", "bb: 4", "d: 5"])
    fields.removeAll { $0.count == 2 }
    #expect(text(fields) == "a: 1\r\nc: 3\r\nd: 5\r\n")
    fields.removeAll { _ in true }
    #expect(fields.wireCount == 0)
  }

  @Test(
    arguments: [
      "content-length", "Transfer-Encoding", "CONNECTION", "keep-alive", "proxy-connection", "te", "trailer", "upgrade",
      "expect",
    ] as [HeaderName])
  func aFieldOfTheConnectionThatIsAddedIsNoted(name: HeaderName) {
    var fields = HeaderFields()
    #expect(!fields.mayHoldConnectionFields)
    fields.set("content-type", "a")
    #expect(!fields.mayHoldConnectionFields)
    fields.add(name, "a")
    #expect(fields.mayHoldConnectionFields)
    let copy = fields
    #expect(copy.mayHoldConnectionFields)
    fields.removeAll()
    #expect(!fields.mayHoldConnectionFields)
  }

  /// A cache keeps lines with the length that they were sent with.
  @Test func linesThatWereKeptAreLookedThrough() {
    var fields = HeaderFields()
    fields.append(wireBytes: Array("Content-Length: 5\r\n".utf8))
    #expect(fields.mayHoldConnectionFields)
    var copy = HeaderFields()
    copy.assign(fields)
    #expect(copy.mayHoldConnectionFields)
  }
}

@Suite struct HTTPMethodBytesTests {
  @Test(arguments: [
    "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "get", "GETS", "PUTT", "BREW",
    "HEAP", "M-SEARCH",
  ])
  func aMethodOfBytesIsThatOfItsName(name: String) {
    let method = HTTPMethod(Array(name.utf8).span)
    #expect(method == HTTPMethod(name))
    var wire: [UInt8] = []
    method.withName { wire.append(copying: $0) }
    #expect(wire == Array(name.utf8))
  }
}
