import JWTAuthentication
import Testing

@testable import ExampleApp

@Suite struct JSONTests {
  @Test func membersStandInTheirOrderAndNumbersAreWhole() {
    let json: JSON = .object([
      "z": .int(.max), "a": .array([.null, .bool(true), .bool(false), .int(-1)]), "empty": .object([]),
    ])
    #expect(json.text == #"{"z":9223372036854775807,"a":[null,true,false,-1],"empty":{}}"#)
    #expect(JSON.array([]).text == "[]")
  }

  @Test func whatEndsAStringOrALineOrTurnsATerminalIsEscaped() {
    #expect(JSON.string("a\"b\\c\n\r\t").text == #""a\"b\\c\n\r\t""#)
    #expect(JSON.string("\u{0}\u{1b}[2J\u{7f}\u{9b}").text == #""\u0000\u001b[2J\u007f\u009b""#)
    #expect(JSON.string("\u{2028}\u{202e}\u{feff}").text == #""\u2028\u202e\ufeff""#)
    // Beyond the first plane: two units.
    #expect(JSON.string("\u{e0001}").text == #""\udb40\udc01""#)
    #expect(JSON.string("Grüße 🦊 /").text == #""Grüße 🦊 /""#)
  }

  @Test func everyTextComesBackAsItWas() throws {
    let texts = ["", "\"", "\\\\", "a\u{301}", "é", "\u{e0001}x", "\r\n", String(repeating: "\u{1}", count: 300), "👩‍👩‍👧"]
    for text in texts {
      let read = try JSONValue(parsing: Array(JSON.array([.string(text)]).text.utf8)).strings ?? []
      #expect(read.count == 1 && read[0].unicodeScalars.elementsEqual(text.unicodeScalars), "\(text.debugDescription)")
    }
  }
}
