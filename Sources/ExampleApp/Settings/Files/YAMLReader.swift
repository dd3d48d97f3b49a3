import CYAML

/// Reads one YAML 1.1 document (JSON is a subset of it) through libyaml.
///
/// A settings file is small and written by hand: anchors and aliases (with which few lines can stand for gigabytes), tags,
/// further documents and keys that are no text are refused, each with its line.
struct YAMLReader {
  // The pointers are sound because parser and events live in one call of `read`, are given back on every path, and the file's
  // bytes outlive the parser, which reads them in place. The parser has memory of its own: libyaml keeps its address.

  /// How deep lists and sections may stand in each other.
  private static let deepest = 16

  private let file: String
  private let parser: UnsafeMutablePointer<yaml_parser_t>

  /// - Parameter file: how the sentences call it.
  /// - Returns: `nil` for a file without any value.
  /// - Throws: ``SettingsError`` with the line: the file is not YAML, or has what is refused here.
  static func read(_ bytes: [UInt8], file: String) throws -> YAMLNode? {
    let parser = UnsafeMutablePointer<yaml_parser_t>.allocate(capacity: 1)
    defer { parser.deallocate() }
    guard yaml_parser_initialize(parser) == 1 else { throw SettingsError("\(file): there is no memory to read it") }
    defer { yaml_parser_delete(parser) }
    return try bytes.withUnsafeBufferPointer { bytes in
      yaml_parser_set_input_string(parser, bytes.baseAddress, bytes.count)
      return try YAMLReader(file: file, parser: parser).document(in: bytes)
    }
  }

  private func document(in bytes: UnsafeBufferPointer<UInt8>) throws -> YAMLNode? {
    var event = try next(bytes)
    guard case .streamStart = event else { throw SettingsError("\(file): it cannot be read as YAML") }
    event = try next(bytes)
    if case .streamEnd = event { return nil }
    let root = try node(try next(bytes), depth: 0, bytes)
    guard case .documentEnd = try next(bytes) else { throw SettingsError("\(file): it cannot be read as YAML") }
    guard case .streamEnd = try next(bytes) else {
      throw SettingsError(
        "\(file):\(Int(parser.pointee.mark.line) + 1): a second document begins here; write one, without further lines of ---"
      )
    }
    return root
  }

  // MARK: Events

  private enum Event {
    case streamStart, streamEnd, documentStart, documentEnd
    case alias(Int)
    case scalar(YAMLScalar)
    case listStart(Int), listEnd
    case mapStart(Int), mapEnd
  }

  private func next(_ bytes: UnsafeBufferPointer<UInt8>) throws -> Event {
    var event = yaml_event_t()
    guard yaml_parser_parse(parser, &event) == 1 else { throw YAMLMistake(parser.pointee, in: bytes).error(file) }
    defer { yaml_event_delete(&event) }
    let line = Int(event.start_mark.line) + 1
    switch event.type {
    case YAML_STREAM_START_EVENT: return .streamStart
    case YAML_STREAM_END_EVENT, YAML_NO_EVENT: return .streamEnd
    case YAML_DOCUMENT_START_EVENT: return .documentStart
    case YAML_DOCUMENT_END_EVENT: return .documentEnd
    case YAML_ALIAS_EVENT: return .alias(line)
    case YAML_SCALAR_EVENT:
      let scalar = event.data.scalar
      try refuse(anchor: scalar.anchor, tag: scalar.tag, line)
      let text = String(decoding: UnsafeBufferPointer(start: scalar.value, count: scalar.length), as: UTF8.self)
      return .scalar(YAMLScalar(text: text, isPlain: scalar.style == YAML_PLAIN_SCALAR_STYLE, line: line))
    case YAML_SEQUENCE_START_EVENT:
      try refuse(anchor: event.data.sequence_start.anchor, tag: event.data.sequence_start.tag, line)
      return .listStart(line)
    case YAML_SEQUENCE_END_EVENT: return .listEnd
    case YAML_MAPPING_START_EVENT:
      try refuse(anchor: event.data.mapping_start.anchor, tag: event.data.mapping_start.tag, line)
      return .mapStart(line)
    case YAML_MAPPING_END_EVENT: return .mapEnd
    // An imported enumeration is open; libyaml has no further events.
    case _: throw SettingsError("\(file):\(line): it cannot be read as YAML")
    }
  }

  private func refuse(
    anchor: UnsafeMutablePointer<yaml_char_t>?, tag: UnsafeMutablePointer<yaml_char_t>?, _ line: Int
  ) throws {
    if anchor != nil {
      throw SettingsError("\(file):\(line): anchors (&name) are not read here; write the value where it is needed")
    }
    if tag != nil {
      throw SettingsError("\(file):\(line): tags (!name) are not read here; write the value without one")
    }
  }

  // MARK: The tree

  private func node(_ event: Event, depth: Int, _ bytes: UnsafeBufferPointer<UInt8>) throws -> YAMLNode {
    switch event {
    case .scalar(let scalar): return .scalar(scalar)
    case .listStart(let line):
      try checkDepth(depth, line)
      var members: [YAMLNode] = []
      while true {
        let event = try next(bytes)
        if case .listEnd = event { return .list(members, line: line) }
        members.append(try node(event, depth: depth + 1, bytes))
      }
    case .mapStart(let line):
      try checkDepth(depth, line)
      return .map(try members(depth: depth, bytes), line: line)
    case .alias(let line):
      throw SettingsError("\(file):\(line): aliases (*name) are not read here; write the value itself")
    case .streamStart, .streamEnd, .documentStart, .documentEnd, .listEnd, .mapEnd:
      throw SettingsError("\(file): it cannot be read as YAML")
    }
  }

  private func members(depth: Int, _ bytes: UnsafeBufferPointer<UInt8>) throws -> [YAMLMember] {
    var members: [YAMLMember] = []
    var lines: [String: Int] = [:]
    while true {
      let event = try next(bytes)
      if case .mapEnd = event { return members }
      let key = try node(event, depth: depth + 1, bytes)
      guard case .scalar(let name) = key else {
        throw SettingsError("\(file):\(key.line): a key has to be a word, and this is \(key.kind)")
      }
      if let first = lines.updateValue(name.line, forKey: name.text) {
        throw SettingsError(
          "\(file):\(name.line): \(TerminalText.shown(name.text)) stands on line \(first) already; keep one of them")
      }
      let value = try node(try next(bytes), depth: depth + 1, bytes)
      members.append(YAMLMember(name: name.text, line: name.line, value: value))
    }
  }

  private func checkDepth(_ depth: Int, _ line: Int) throws {
    guard depth < Self.deepest else {
      throw SettingsError("\(file):\(line): sections stand in each other more than \(Self.deepest) deep")
    }
  }
}

/// What libyaml has found, as a sentence that says what to look for.
private struct YAMLMistake {
  var line: Int
  var problem: String
  /// What was being read, and where it began.
  var context: (text: String, line: Int)?
  var hasTab: Bool

  init(_ parser: yaml_parser_t, in bytes: UnsafeBufferPointer<UInt8>) {
    let isOfReader = parser.error == YAML_READER_ERROR
    let before = isOfReader ? bytes.prefix(parser.problem_offset) : bytes.prefix(0)
    line = isOfReader ? before.count { $0 == UInt8(ascii: "\n") } + 1 : Int(parser.problem_mark.line) + 1
    problem = parser.problem.map { String(cString: $0) } ?? "it ends in the middle"
    context = parser.context.map { (String(cString: $0), Int(parser.context_mark.line) + 1) }
    let lines = bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
    let text = lines.indices.contains(line - 1) ? lines[line - 1] : bytes.prefix(0)
    hasTab = text.prefix { $0 == UInt8(ascii: " ") || $0 == UInt8(ascii: "\t") }.contains(UInt8(ascii: "\t"))
  }

  func error(_ file: String) -> SettingsError {
    if hasTab {
      return SettingsError("\(file):\(line): a tab stands where the line is indented; YAML takes spaces alone")
    }
    let hint =
      switch problem {
      case "mapping values are not allowed in this context":
        "a space is missing behind a colon above, a value with a colon is not in quotes, or the line is indented too far"
      case "could not find expected ':'":
        "a colon is missing, or the space behind it: write name: value"
      case "did not find expected key":
        "the line is indented differently from its neighbours, or something follows a value in quotes"
      case "did not find expected '-' indicator":
        "every item of the list has to begin with a dash, as far to the right as the first one"
      case "found unexpected end of stream":
        "a quotation mark that was opened is not closed"
      case "did not find expected ',' or '}'", "did not find expected ',' or ']'":
        "a comma or a closing bracket is missing"
      case "found character that cannot start any token":
        "put values that begin with @, `, % or a tab in quotes"
      case _: "look for a missing space after a colon, an odd indentation or an open quotation mark"
      }
    let began = context.flatMap { $0.line == line ? nil : " (\($0.text) from line \($0.line) on)" } ?? ""
    return SettingsError("\(file):\(line): this is not YAML: \(problem)\(began); \(hint)")
  }
}
