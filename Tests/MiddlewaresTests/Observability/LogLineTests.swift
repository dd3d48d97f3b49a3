import Pipeline
import PipelineTesting
import Testing

private func line(_ build: (inout LogLine) -> Void) -> String {
  var line = LogLine()
  build(&line)
  return line.withBytes { $0.withUnsafeBufferPointer { String(decoding: $0, as: UTF8.self) } }
}

private func json(_ bytes: [UInt8]) -> String { line { $0.append(value: bytes.span, style: .json) } }

@Suite struct LogLineTests {
  @Test(arguments: [
    (0, "1970-01-01T00:00:00.007Z"), (951_782_399, "2000-02-28T23:59:59.007Z"),
    (951_782_400, "2000-02-29T00:00:00.007Z"), (1_795_267_648, "2026-11-21T13:27:28.007Z"),
    (4_107_542_399, "2100-02-28T23:59:59.007Z"), (4_107_542_400, "2100-03-01T00:00:00.007Z"),
    (-1, "1969-12-31T23:59:59.007Z"),
  ])
  func writesTimesInUTC(_ seconds: Int64, _ expected: String) {
    #expect(line { $0.append(UnixTime(seconds: seconds, nanoseconds: 7_999_999)) } == expected)
  }

  @Test func aCalendarThatIsKeptForASecondIsNotUsedForTheNext() {
    var line = LogLine()
    for (seconds, text) in [(59, "00:00:59"), (59, "00:00:59"), (60, "00:01:00"), (59, "00:00:59")] as [(Int64, String)]
    {
      line.clear()
      line.append(UnixTime(seconds: seconds))
      #expect(
        line.withBytes { $0.withUnsafeBufferPointer { String(decoding: $0, as: UTF8.self) } }
          == "1970-01-01T\(text).000Z")
    }
  }

  @Test func writesNumbersAndDurations() {
    #expect(line { $0.append(UInt64.max) } == "18446744073709551615")
    #expect(line { $0.append(-7) } == "0")
    #expect(line { $0.append(milliseconds: .microseconds(1_234_005)) } == "1234.005")
    #expect(line { $0.append(milliseconds: .nanoseconds(999)) } == "0.000")
    #expect(line { $0.append(milliseconds: .seconds(-1)) } == "0.000")
  }

  @Test func writesEveryNumberOfDigits() {
    var numbers: [UInt64] = Array(0...10_100)
    var power: UInt64 = 10
    for _ in 0..<19 {
      numbers += [power - 1, power, power + 1, power / 10 * 7 + 7]
      power = power.multipliedReportingOverflow(by: 10).partialValue
    }
    for number in numbers + [.max] {
      if line({ $0.append(number) }) != "\(number)" { Issue.record("\(number)") }
    }
  }

  @Test func numbersAreFilledUpWithZeros() {
    for digits in 1...20 {
      for number in [0, 7, 42, 999, 1000, 9999, 10_000, 12_345_678, 99_999_999, 100_000_000, .max] as [UInt64] {
        var bytes = ByteBuilder()
        bytes.append(decimal: number, digits: digits)
        let plain = "\(number)"
        let expected = String(repeating: "0", count: max(0, digits - plain.count)) + plain
        let written = String(decoding: bytes.bytes, as: UTF8.self)
        #expect(written == expected, "\(digits) digits")
      }
    }
  }

  @Test func theThousandthsOfAMillisecondHaveThreeDigits() {
    for microseconds in Array(0...2000) + [12_345_678, 123_456_789_012] {
      let thousandths = "\(microseconds % 1000)"
      let zeros = String(repeating: "0", count: 3 - thousandths.count)
      #expect(
        line { $0.append(milliseconds: .microseconds(microseconds)) } == "\(microseconds / 1000).\(zeros)\(thousandths)"
      )
    }
  }

  @Test func aValueIsABareWordOrAQuotedOneWhereverTheByteStands() {
    for length in 1...18 {
      for place in 0..<length {
        for byte in UInt8.min...UInt8.max {
          var value = [UInt8](repeating: UInt8(ascii: "a"), count: length)
          value[place] = byte
          let meaning: [UInt8] = [32, 127, UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "=")]
          let isBare = byte > 32 && byte < 128 && !meaning.contains(byte) && value != [UInt8(ascii: "-")]
          let written = line { $0.append(value: value.span, style: .text) }
          let expected = isBare ? String(decoding: value, as: UTF8.self) : json(value)
          if written != expected { Issue.record("\(byte) at \(place) of \(length): \(written)") }
        }
      }
    }
  }

  @Test func writesAddressesAsTheyDescribeThemselves() {
    var random = SeededRandom(seed: 5)
    var addresses = [
      "0.0.0.0", "9.10.99.100", "255.255.255.255", "101.1.20.3", "::", "::1", "1::", "1:0:0:2::", "1:0:2:0:3:0:4:0",
      "2001:db8::1", "fe80::1:0:0:1", "0:1::",
    ]
    .compactMap { IPAddress($0) }
    for _ in 0..<2000 {
      // Many zero groups, so that the shortening has work.
      var words: (UInt64, UInt64) = (0, 0)
      for shift in stride(from: 0, to: 64, by: 16) as StrideTo<UInt64> {
        if random.next() % 2 == 0 { words.0 |= (random.next() % 0x1_0000) << shift }
        if random.next() % 2 == 0 { words.1 |= (random.next() % 0x1_0000) << shift }
      }
      addresses.append(IPAddress(v6High: words.0, low: words.1))
      addresses.append(IPAddress(v4: UInt32(truncatingIfNeeded: random.next())))
    }
    for address in addresses {
      #expect(line { $0.append(address) } == address.description)
      let socket = SocketAddress.ip(address, port: 443)
      #expect(line { $0.append(socket, style: .text) } == socket.description)
      #expect(
        line { $0.append(Endpoint(.ip(address), port: 0), style: .json) } == "\"\(Endpoint(.ip(address), port: 0))\"")
    }
  }

  @Test func aPathCannotLeaveItsQuotes() {
    #expect(
      line { $0.append(SocketAddress.unix("/run/a b\" ended=client\n.sock"), style: .text) }
        == #""unix:/run/a b\" ended=client\n.sock""#)
  }

  @Test(arguments: [
    ("word", "word"), ("a.b-c_d:e/f@g", "a.b-c_d:e/f@g"), ("", "\"\""), ("-", "\"-\""), ("two words", "\"two words\""),
    ("a=b", "\"a=b\""), ("a\nb", #""a\nb""#), ("\u{1b}[2J", #""\u001b[2J""#), ("q\"q", #""q\"q""#),
    ("b\\b", #""b\\b""#),
    ("ä", "\"ä\""), ("a\u{202e}b", #""a\u202eb""#), ("a\u{2028}b", #""a\u2028b""#), ("a\u{85}b", #""a\u0085b""#),
    ("\u{7f}", #""\u007f""#), ("😀", "\"😀\""),
  ])
  func textCanNeitherEndALineNorForgeAField(_ value: String, _ expected: String) {
    #expect(line { $0.append(value: value, style: .text) } == expected)
  }

  @Test func everyByteAloneGivesAJSONStringOfPrintableText() {
    for byte in UInt8.min...UInt8.max {
      let text = json([byte])
      #expect(text.first == "\"" && text.last == "\"" && text.utf8.count >= 3)
      #expect(text.unicodeScalars.allSatisfy { $0.value >= 0x20 && $0.value != 0x7f })
      if byte >= 0x80 { #expect(text == #""\ufffd""#) }
    }
  }

  @Test(
    arguments: [
      ([0xc0, 0x80], #""\ufffd\ufffd""#),  // overlong NUL
      ([0xe0, 0x80, 0xaf], #""\ufffd\ufffd\ufffd""#),  // overlong slash
      ([0xed, 0xa0, 0x80], #""\ufffd\ufffd\ufffd""#),  // surrogate
      ([0xf4, 0x90, 0x80, 0x80], #""\ufffd\ufffd\ufffd\ufffd""#),  // beyond 10FFFF
      ([0x61, 0xe2, 0x82], #""a\ufffd\ufffd""#),  // cut short
      ([0xe2, 0x82, 0x0a, 0x61], #""\ufffd\ufffd\na""#),  // a line feed inside a cut scalar
      ([0xe2, 0x82, 0xac], "\"€\""),
      ([0xf0, 0x9f, 0x98, 0x80], "\"😀\""),
    ] as [([UInt8], String)])
  func bytesThatAreNoUTF8AreReplacedOneByOne(_ bytes: [UInt8], _ expected: String) {
    #expect(json(bytes) == expected)
  }
}
