import Testing

@testable import ExampleApp

@Suite struct YAMLReaderTests {
  private func read(_ text: String) throws -> YAMLNode? { try YAMLReader.read(Array(text.utf8), file: "f") }

  private func sentence(_ text: String) -> String {
    do {
      return "read: \(try read(text).map { "\($0)" } ?? "nothing")"
    } catch {
      return "\(error)"
    }
  }

  @Test func sectionsListsAndValuesComeWithTheirLines() throws {
    let root = try read("server:\n  port: 8080\nservers:\n  - url: 'http://a:1'\n  - b\nempty:\n")
    guard case .map(let members, line: 1)? = root else {
      Issue.record("\(String(describing: root))")
      return
    }
    #expect(members.map(\.name) == ["server", "servers", "empty"])
    #expect(members.map(\.line) == [1, 3, 6])
    #expect(
      members[0].value
        == .map(
          [YAMLMember(name: "port", line: 2, value: .scalar(YAMLScalar(text: "8080", isPlain: true, line: 2)))], line: 2
        ))
    guard case .list(let items, line: 4) = members[1].value else {
      Issue.record("\(members[1])")
      return
    }
    #expect(items[1] == .scalar(YAMLScalar(text: "b", isPlain: true, line: 5)))
    guard case .scalar(let nothing) = members[2].value else {
      Issue.record("\(members[2])")
      return
    }
    #expect(nothing.isEmpty)
  }

  @Test func jsonIsASubset() throws {
    let json = "{\n\t\"server\": {\"port\":8080, \"x\": [1, \"a\\u0041\\n\"]}\n}\n"
    guard case .map(let members, _)? = try read(json), case .map(let server, line: 2) = members[0].value else {
      Issue.record("\(sentence(json))")
      return
    }
    #expect(server.map(\.name) == ["port", "x"])
    guard case .list(let items, _) = server[1].value else { return }
    #expect(items[1] == .scalar(YAMLScalar(text: "aA\n", isPlain: false, line: 2)))
  }

  @Test func aFileWithoutAnyValueIsNothing() throws {
    #expect(try read("") == nil)
    #expect(try read("# all in comments\n\n") == nil)
  }

  struct Mistake: Sendable {
    let text: String
    let said: String

    init(_ text: String, _ said: String) {
      self.text = text
      self.said = said
    }
  }

  private static let mistakes: [Mistake] = [
    Mistake("a:\n\tb: 1\n", "f:2: a tab stands where the line is indented; YAML takes spaces alone"),
    Mistake(
      "a: b: c\n",
      """
      f:1: this is not YAML: mapping values are not allowed in this context; a space is missing behind a \
      colon above, a value with a colon is not in quotes, or the line is indented too far
      """),
    Mistake(
      "a: 1\n b: 2\n",
      """
      f:2: this is not YAML: mapping values are not allowed in this context; a space is missing behind a \
      colon above, a value with a colon is not in quotes, or the line is indented too far
      """),
    Mistake(
      "a: 1\nb\n",
      """
      f:3: this is not YAML: could not find expected ':' (while scanning a simple key from line 2 on); a colon \
      is missing, or the space behind it: write name: value
      """),
    Mistake(
      "a:\n  b: 1\n c: 2\n",
      """
      f:3: this is not YAML: did not find expected key (while parsing a block mapping from line 1 on); the line \
      is indented differently from its neighbours, or something follows a value in quotes
      """),
    Mistake(
      "a: \"x\n",
      """
      f:2: this is not YAML: found unexpected end of stream (while scanning a quoted scalar from line 1 on); a \
      quotation mark that was opened is not closed
      """),
    Mistake(
      "{\"a\": 1\n",
      """
      f:2: this is not YAML: did not find expected ',' or '}' (while parsing a flow mapping from line 1 on); a \
      comma or a closing bracket is missing
      """),
    Mistake("a: 1\nb: 2\na: 3\n", "f:3: a stands on line 1 already; keep one of them"),
    Mistake("a: &x 1\n", "f:1: anchors (&name) are not read here; write the value where it is needed"),
    Mistake("a: *x\n", "f:1: aliases (*name) are not read here; write the value itself"),
    Mistake("a: !!int 1\n", "f:1: tags (!name) are not read here; write the value without one"),
    Mistake("a: 1\n---\nb: 2\n", "f:2: a second document begins here; write one, without further lines of ---"),
    Mistake("[a]: 1\n", "f:1: a key has to be a word, and this is a list"),
  ]

  @Test(arguments: mistakes)
  func everyMistakeNamesItsLineAndSaysWhatToLookFor(mistake: Mistake) {
    #expect(sentence(mistake.text) == mistake.said)
  }

  @Test func bytesThatAreNoTextAreRefusedWithTheirLine() {
    let said = #expect(throws: SettingsError.self) {
      try YAMLReader.read(Array("a: 1\nb: ".utf8) + [0xff, 0x0a], file: "f")
    }
    #expect(said?.description.hasPrefix("f:2: this is not YAML: ") == true)
  }

  @Test func aThousandBracketsAreNotFollowed() {
    #expect(sentence(String(repeating: "[", count: 1000)).contains("more than 16 deep"))
  }

  /// The reader is given every part of a file, as an editor may leave it, and always says something.
  @Test func everyPrefixOfAFileIsReadOrRefused() throws {
    let bytes = Array(SettingsText.file.utf8.prefix(2000)) + Array("\nx: {a: \"\\u00e9\", b: [1, 'c']}\n".utf8)
    for count in 0...bytes.count {
      do {
        _ = try YAMLReader.read(Array(bytes.prefix(count)), file: "f")
      } catch let error as SettingsError {
        #expect(error.description.hasPrefix("f:"))
      }
    }
  }
}
