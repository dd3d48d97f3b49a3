import Testing

@testable import ExampleApp

@Suite struct VariablesTests {
  private func file(_ text: String) throws -> VariablesFile { try VariablesFile(Array(text.utf8), file: "config.env") }

  private func sentence(_ text: String) -> String {
    do {
      return "\(try file(text).entries.count) entries"
    } catch {
      return "\(error)"
    }
  }

  @Test func linesAreReadAsShellsWriteThem() throws {
    let read = try file(
      "# a comment\n\nPROXY_ADDRESS=127.0.0.1:8080\r\n export MAX_RETRIES=3 \nA='x y'\nB=\"a=b#c\"\nEMPTY=\n")
    #expect(read.entries["PROXY_ADDRESS"] == .init(value: "127.0.0.1:8080", line: 3))
    #expect(read.entries["MAX_RETRIES"] == .init(value: "3", line: 4))
    #expect(read.entries["A"]?.value == "x y")
    #expect(read.entries["B"]?.value == "a=b#c")
    #expect(read.entries["EMPTY"]?.value == "")
    #expect(read.entries.count == 5)
  }

  @Test func aWrongLineIsNamedWithoutWhatItHolds() {
    let form = "this is no line of the form NAME=VALUE; a name holds letters, digits and _, without spaces around ="
    #expect(sentence("A=1\nhunter2\n") == "config.env:2: \(form)")
    #expect(sentence("A = 1\n") == "config.env:1: \(form)")
    #expect(sentence("1A=1\n") == "config.env:1: \(form)")
    #expect(sentence("A=\"1\n") == "config.env:1: A: the quotation mark at the beginning is not closed at the end")
    #expect(sentence("A=1\nA=2\n") == "config.env:2: A stands on line 1 already; keep one of them")
  }

  private func expand(_ text: String) throws -> String {
    let environment = ["PORT": "1", "BOTH": "env"]
    let variables = Variables(
      environment: Environment(value: { environment[$0] }), file: try file("BOTH=file\nFILE=2\nEMPTY=\n"))
    do {
      return try variables.expand(text, place: "f:1: k").text
    } catch {
      return "\(error)"
    }
  }

  @Test func variablesAreReplacedFromTheEnvironmentAndThenFromTheFile() throws {
    #expect(try expand(":${PORT}") == ":1")
    #expect(try expand("${BOTH}${FILE}") == "env2")
    #expect(try expand("${NONE:-a:-b}-${EMPTY:-c}") == "a:-b-c")
    #expect(try expand("$$ $PORT $${PORT} 5$") == "$ $PORT ${PORT} 5$")
  }

  @Test func whatIsNoVariableIsOneSentence() throws {
    #expect(
      try expand("${NONE}")
        == "f:1: k: the variable NONE is not set; set it in the environment or in config.env, or write ${NONE:-VALUE}")
    #expect(try expand("${PORT") == "f:1: k: ${ is not closed; write ${NAME}, or $$ for a dollar")
    #expect(
      try expand("${a b}")
        == "f:1: k: ${a b} names no variable; a name holds letters, digits and _, and $$ stands for a dollar")
  }

  @Test(arguments: ["DB_PASSWORD", "api_key", "TOKEN", "MySecret", "PASSPHRASE"])
  func namesThatSayThatTheyAreSecretAre(name: String) {
    #expect(Variables.isSecret(name))
    #expect(!Variables.isSecret("PORT"))
  }
}
