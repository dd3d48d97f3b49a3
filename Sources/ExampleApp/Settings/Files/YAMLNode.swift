/// What a YAML file holds, with the line of each part: sentences about settings name lines.
enum YAMLNode: Sendable, Equatable {
  case scalar(YAMLScalar)
  case list([YAMLNode], line: Int)
  case map([YAMLMember], line: Int)

  /// Where it begins, from 1.
  var line: Int {
    switch self {
    case .scalar(let scalar): scalar.line
    case .list(_, let line), .map(_, let line): line
    }
  }

  /// What it is, for a sentence.
  var kind: String {
    switch self {
    case .scalar(let scalar): scalar.isEmpty ? "nothing" : "one value"
    case .list: "a list"
    case .map: "a section"
    }
  }
}

/// One value. YAML's own guesses (`true`, `1e3`) are not made: who declared the setting knows what it is.
struct YAMLScalar: Sendable, Equatable {
  var text: String
  /// Not in quotes, so that `null` and `~` mean that there is nothing.
  var isPlain: Bool
  var line: Int

  /// Nothing is written there, or one of YAML's words for it.
  var isEmpty: Bool { isPlain && ["", "~", "null", "Null", "NULL"].contains(text) }
}

/// `name: value`.
struct YAMLMember: Sendable, Equatable {
  var name: String
  var line: Int
  var value: YAMLNode
}
