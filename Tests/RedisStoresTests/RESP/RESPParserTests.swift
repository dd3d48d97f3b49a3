import PipelineTesting
import Testing

@testable import RedisStores

struct RESPParserTests {
  /// One of each, and what it means.
  static let samples: [(wire: String, value: RESPValue)] = [
    ("+OK\r\n", .status("OK")), ("+\r\n", .status("")),
    ("-ERR no such key\r\n", .error(RESPError(code: "ERR", message: "no such key"))),
    ("-MOVED 3999 127.0.0.1:6381\r\n", .error(RESPError(code: "MOVED", message: "3999 127.0.0.1:6381"))),
    ("-LOADING\r\n", .error(RESPError(code: "LOADING", message: ""))),
    (":0\r\n", .integer(0)), (":-7\r\n", .integer(-7)), (":+7\r\n", .integer(7)),
    (":9223372036854775807\r\n", .integer(.max)), (":-9223372036854775808\r\n", .integer(.min)),
    ("$5\r\nhello\r\n", .bulk(Array("hello".utf8))), ("$0\r\n\r\n", .bulk([])),
    ("$4\r\n\r\n\r\n\r\n", .bulk([13, 10, 13, 10])), ("$-1\r\n", .null), ("*-1\r\n", .null), ("_\r\n", .null),
    ("*0\r\n", .array([])), ("*2\r\n:1\r\n$1\r\na\r\n", .array([.integer(1), .bulk([97])])),
    ("*1\r\n*1\r\n*0\r\n", .array([.array([.array([])])])),
    ("*2\r\n-ERR a\r\n+OK\r\n", .array([.error(RESPError(code: "ERR", message: "a")), .status("OK")])),
    ("#t\r\n", .boolean(true)), ("#f\r\n", .boolean(false)),
    (",1.5\r\n", .double(1.5)), (",-3\r\n", .double(-3)), (",1e3\r\n", .double(1000)), (",inf\r\n", .double(.infinity)),
    (",-inf\r\n", .double(-.infinity)), ("(-123456789012345678901\r\n", .bigNumber("-123456789012345678901")),
    ("!8\r\nERR a\r\nb\r\n", .error(RESPError(code: "ERR", message: "a\r\nb"))),
    ("=7\r\ntxt:abc\r\n", .verbatim(format: "txt", Array("abc".utf8))),
    ("%1\r\n+a\r\n:1\r\n", .map([RESPPair(.status("a"), .integer(1))])), ("%0\r\n", .map([])),
    ("~2\r\n:1\r\n:2\r\n", .set([.integer(1), .integer(2)])),
    (">2\r\n+message\r\n:1\r\n", .push([.status("message"), .integer(1)])),
    ("|1\r\n+ttl\r\n:9\r\n:5\r\n", .integer(5)),
    ("*2\r\n|1\r\n+a\r\n:1\r\n:5\r\n|0\r\n:6\r\n", .array([.integer(5), .integer(6)])),
  ]

  private func parse(_ pieces: [some Sequence<UInt8>], _ limits: RESPLimits = RESPLimits()) throws -> [RESPValue] {
    var parser = RESPParser(limits)
    var values: [RESPValue] = []
    for piece in pieces {
      parser.append(piece)
      while let value = try parser.next() { values.append(value) }
    }
    #expect(parser.pending == 0 || values.isEmpty)
    return values
  }

  @Test(arguments: samples.indices)
  func everyTypeIsReadWholeByteByByteAndInEverySplit(_ index: Int) throws {
    let sample = Self.samples[index]
    let wire = Array(sample.wire.utf8)
    #expect(try parse([wire]) == [sample.value])
    #expect(try parse(wire.map { [$0] }) == [sample.value])
    for cut in 1..<wire.count { #expect(try parse([wire[..<cut], wire[cut...]]) == [sample.value]) }
    // No prefix is taken for the whole.
    for cut in 0..<wire.count { #expect(try parse([wire[..<cut]]).isEmpty) }
  }

  @Test func allOfThemInARowAreReadInEverySplit() throws {
    let wire = Array(Self.samples.map(\.wire).joined().utf8)
    let values = Self.samples.map(\.value)
    #expect(try parse([wire]) == values)
    #expect(try parse(wire.map { [$0] }) == values)
    for cut in 1..<wire.count { #expect(try parse([wire[..<cut], wire[cut...]]) == values) }
  }

  @Test func randomValuesComeBackAsTheyWereWrittenInRandomPieces() throws {
    var random = SeededRandom(seed: 7)
    for _ in 0..<300 {
      let values = (0..<Int.random(in: 1...4, using: &random)).map { _ in Self.value(3, &random) }
      var wire: [UInt8] = []
      for value in values { RESPSerializer.append(value, as: .resp3, to: &wire) }
      var pieces: [ArraySlice<UInt8>] = []
      var rest = wire[...]
      while !rest.isEmpty {
        let size = min(rest.count, Int.random(in: 1...20, using: &random))
        pieces.append(rest.prefix(size))
        rest = rest.dropFirst(size)
      }
      #expect(try parse(pieces) == values)
    }
  }

  private static func value(_ depth: Int, _ random: inout SeededRandom) -> RESPValue {
    let bytes = (0..<Int.random(in: 0...12, using: &random)).map { _ in UInt8.random(in: 0...255, using: &random) }
    func several() -> [RESPValue] { (0..<Int.random(in: 0...3, using: &random)).map { _ in value(depth - 1, &random) } }
    switch Int.random(in: 0...(depth > 0 ? 10 : 7), using: &random) {
    case 0: return .status("OK \(random.next())")
    case 1: return .error(RESPError(code: "ERR", message: "\(random.next())"))
    case 2: return .integer(Int64(bitPattern: random.next()))
    case 3: return .null
    case 4: return .boolean(Bool.random(using: &random))
    case 5: return .double(Double(Int64(bitPattern: random.next()) >> 20) / 8)
    case 6: return .verbatim(format: "txt", bytes)
    case 8: return .array(several())
    case 9: return .map(several().map { RESPPair(.bulk(bytes), $0) })
    case 10: return .set(several())
    default: return .bulk(bytes)
    }
  }

  @Test(arguments: [
    ("GET / HTTP/1.1\r\n", RESPFault.unknownType(71)), ("\u{0}", .unknownType(0)), ("\r\n", .unknownType(13)),
    ("+OK\n", .badLineEnd), ("+O\rK\r\n", .badLineEnd), ("+\n\r\n", .badLineEnd), ("$1\r\naXX", .badLineEnd),
    ("$1\r\na\rX", .badLineEnd), (":\r\n", .badNumber), (":1x\r\n", .badNumber), (": 1\r\n", .badNumber),
    (":9223372036854775808\r\n", .badNumber), (":-9223372036854775809\r\n", .badNumber), (":-\r\n", .badNumber),
    ("$-2\r\n", .badNumber), ("$+1\r\n", .badNumber), ("*-2\r\n", .badNumber),
    ("$99999999999999999999\r\n", .badNumber),
    ("!-1\r\n", .badNumber), ("%-1\r\n", .badNumber), ("#x\r\n", .badNumber), ("#\r\n", .badNumber),
    ("_x\r\n", .badNumber), (",\r\n", .badNumber), (",0x1p3\r\n", .badNumber), (",infinity\r\n", .badNumber),
    ("(12a\r\n", .badNumber), ("(\r\n", .badNumber), ("=3\r\nabc\r\n", .badVerbatim), ("=4\r\nabcd\r\n", .badVerbatim),
    ("*1\r\n>1\r\n:1\r\n", .misplaced), ("$?\r\n", .streamed), ("*?\r\n", .streamed),
  ])
  func garbageIsRefused(_ wire: String, _ fault: RESPFault) {
    #expect(throws: fault) { try parse([Array(wire.utf8)]) }
    #expect(throws: fault) { try parse(wire.utf8.map { [$0] }) }
  }

  @Test func aLineThatIsNoTextIsRefusedExceptInAnError() throws {
    #expect(throws: RESPFault.badText) { try parse([[UInt8(ascii: "+"), 0xff, 13, 10]]) }
    #expect(try parse([[UInt8(ascii: "-"), 0xff, 13, 10]]) == [.error(RESPError(code: "\u{fffd}", message: ""))])
  }

  @Test func limitsHoldBeforeTheMemoryIsTaken() {
    let limits = RESPLimits(line: 64, bulk: 10, depth: 3, elements: 8, reply: 100)
    func fault(_ wire: String) -> RESPFault? {
      do {
        _ = try parse([Array(wire.utf8)], limits)
        return nil
      } catch { return error as? RESPFault }
    }
    #expect(fault("$10\r\n0123456789\r\n") == nil)
    #expect(fault("$11\r\n") == .tooLarge("bulk"))
    #expect(fault("+" + String(repeating: "a", count: 64)) == .tooLarge("line"))
    #expect(fault("*1\r\n*1\r\n*1\r\n") == nil)
    #expect(fault("*1\r\n*1\r\n*1\r\n*1\r\n") == .tooLarge("depth"))
    #expect(fault("*7\r\n") == nil)
    #expect(fault("*8\r\n") == .tooLarge("elements"))
    #expect(fault("%4\r\n") == .tooLarge("elements"))
    #expect(fault("*9223372036854775807\r\n") == .tooLarge("elements"))
    #expect(fault("%9223372036854775807\r\n") == .tooLarge("elements"))
    #expect(fault("*7\r\n" + String(repeating: "$10\r\n0123456789\r\n", count: 7)) == .tooLarge("reply"))
  }

  @Test func anAnnouncedArrayReservesNothing() throws {
    var parser = RESPParser()
    parser.append(Array("*1000000\r\n:1\r\n".utf8))
    #expect(try parser.next() == nil)
    // Bounded, however many empty attributes come.
    let endless = [UInt8]("|0\r\n".utf8)
    var nothing = RESPParser(RESPLimits(elements: 100))
    #expect(throws: RESPFault.tooLarge("elements")) {
      for _ in 0..<200 {
        nothing.append(endless)
        while try nothing.next() != nil {}
      }
    }
  }

  @Test func bytesThatWereReadAreNotReadAgain() throws {
    // A megabyte in pieces of 100 bytes: quadratic work would take minutes.
    var parser = RESPParser()
    let body = [UInt8](repeating: 97, count: 1 << 20)
    var wire = Array("*2\r\n$\(body.count)\r\n".utf8) + body + Array("\r\n:1\r\n".utf8)
    var values: [RESPValue] = []
    while !wire.isEmpty {
      parser.append(wire.prefix(100))
      wire = Array(wire.dropFirst(min(100, wire.count)).prefix(1 << 21))
      if wire.count % 50_000 < 100, let value = try parser.next() { values.append(value) }
    }
    while let value = try parser.next() { values.append(value) }
    #expect(values == [.array([.bulk(body), .integer(1)])])
  }
}

struct RESPSerializerTests {
  private func written(_ value: RESPValue, _ version: RESPVersion) -> String {
    var out: [UInt8] = []
    RESPSerializer.append(value, as: version, to: &out)
    return String(decoding: out, as: UTF8.self)
  }

  @Test func valuesOfRESP3AreWrittenForRESP2AsRedisDoes() {
    #expect(written(.map([RESPPair(.status("a"), .integer(1))]), .resp2) == "*2\r\n+a\r\n:1\r\n")
    #expect(written(.map([RESPPair(.status("a"), .integer(1))]), .resp3) == "%1\r\n+a\r\n:1\r\n")
    #expect(written(.set([.null]), .resp2) == "*1\r\n$-1\r\n")
    #expect(written(.boolean(true), .resp2) == ":1\r\n")
    #expect(written(.double(1.5), .resp2) == "$3\r\n1.5\r\n")
    #expect(written(.double(3), .resp3) == ",3\r\n")
    #expect(written(.verbatim(format: "txt", [97]), .resp2) == "$1\r\na\r\n")
    #expect(written(.verbatim(format: "txt", [97]), .resp3) == "=5\r\ntxt:a\r\n")
    #expect(written(.bigNumber("12"), .resp2) == "$2\r\n12\r\n")
    #expect(written(.push([.integer(1)]), .resp2) == "*1\r\n:1\r\n")
  }

  @Test func aLineEndInALineCannotEndTheValue() {
    #expect(written(.status("a\r\nb"), .resp3) == "+a  b\r\n")
    #expect(written(.error(RESPError(code: "ERR", message: "a\nb")), .resp2) == "-ERR a b\r\n")
  }

  @Test func aCommandIsAnArrayOfStringsAndHoldsAnyBytes() {
    let command = RedisCommand("SET", .key("k"), .bytes([13, 10, 0]), -5, "")
    #expect(command.bytes == Array("*5\r\n$3\r\nSET\r\n$1\r\nk\r\n$3\r\n\r\n\u{0}\r\n$2\r\n-5\r\n$0\r\n\r\n".utf8))
    #expect("\(command)" == "SET")
  }
}
