/// The value of a metric's label: a word from a bounded set.
///
/// Every value is a time series of its own, which the monitoring keeps for ever: a label that clients choose (a user, a path,
/// an address) fills its memory, and a user's name in it is seen by all who see the graphs. So there is no way from a
/// `String` to a label. A value is written in the source, is a case of an enumeration, the name of a listener, or one of the
/// names that were written down when the app was built (``MetricNames``).
public struct MetricLabel: Sendable, Hashable, ExpressibleByStringLiteral {
  /// As it is shown, before it is escaped.
  public let text: String

  /// A word of the source: `["direction": "up"]`.
  public init(stringLiteral word: StaticString) { text = "\(word)" }

  /// A case of an enumeration, by its raw value.
  public init<Word: CaseIterable & RawRepresentable>(_ word: Word) where Word.RawValue == String {
    text = word.rawValue
  }

  /// The name of a listener.
  public init(_ listener: ListenerInfo) { text = listener.name }

  /// A name from the configuration: of a listener, an element, an upstream, a backend. Nothing that a client can choose.
  package init(configured name: String) { text = name }

  /// A status code: the registered ones by themselves, others as `2xx`.
  public init(status: Int) { self.init(configured: StatusSet.names[StatusSet.index(of: status)]) }

  @available(
    *, unavailable,
    message:
      "a label's value comes from a bounded set: a literal, an enumeration's case, a listener, or one of MetricNames; a name that a client chose would be a time series for each client"
  )
  public init(_ text: String) { fatalError("unavailable") }

  @available(
    *, unavailable,
    message: "a user is no label: every user would be a time series, and a name for all to see who see the graphs"
  )
  public init(_ principal: Principal) { fatalError("unavailable") }

  @available(*, unavailable, message: "a client is no label: every address would be a time series")
  public init(_ client: ClientAddress) { fatalError("unavailable") }

  @available(
    *, unavailable, message: "a destination that clients choose is no label: every address would be a time series"
  )
  public init(_ destination: Endpoint) { fatalError("unavailable") }
}

/// The names that a label may have, written down when the app is built: at most 1,000.
///
/// ```swift
/// let tenants = MetricNames(["blue", "green"])
/// page.add(orders, 1, ["tenant": tenants.label(for: name)])   // "other" for every other name
/// ```
public struct MetricNames: Sendable {
  /// How many names there may be.
  public static let limit = 1000
  private let known: [String: MetricLabel]

  /// - Parameter names: 0...1000 names. More end the program: a set that large is not bounded in any useful way.
  public init(_ names: [String]) {
    precondition(
      names.count <= Self.limit, "MetricNames: \(names.count) names; allowed are 0...\(Self.limit)")
    known = Dictionary(names.map { ($0, MetricLabel(configured: $0)) }) { first, _ in first }
  }

  /// The label of this name; `other` for one that is not in the set.
  public func label(for name: String) -> MetricLabel { known[name] ?? "other" }
}

/// Names and values of a sample's labels, in the order in which they are written.
public struct MetricLabels: Sendable, Hashable, ExpressibleByDictionaryLiteral {
  struct Pair: Sendable, Hashable {
    let name: String
    let value: String
  }

  var pairs: [Pair] = []

  /// `["listener": MetricLabel(listener), "direction": "up"]`. A name that cannot be one (`le`, `__x`, `a-b`), or that stands
  /// there twice, is a mistake of its author and ends the program.
  public init(dictionaryLiteral elements: (StaticString, MetricLabel)...) {
    for (name, label) in elements { add(name, label) }
  }

  /// Appends a label.
  public mutating func add(_ name: StaticString, _ label: MetricLabel) {
    let name = "\(name)"
    if let problem = Self.problem(with: name) { preconditionFailure("label \(name): \(problem)") }
    precondition(!pairs.contains { $0.name == name }, "label \(name): it is there already")
    pairs.append(Pair(name: name, value: label.text))
  }

  /// Calls `body` with every name and value, in their order.
  public func forEach(_ body: (_ name: String, _ value: String) -> Void) {
    for pair in pairs { body(pair.name, pair.value) }
  }

  static func problem(with name: String) -> String? {
    guard let first = name.utf8.first, Metric.isLetter(first),
      name.utf8.allSatisfy({ Metric.isLetter($0) || Metric.isDigit($0) })
    else { return "a label's name is letters, digits and _, and does not begin with a digit" }
    if name.hasPrefix("__") || name == "le" || name == "quantile" { return "this name is reserved" }
    return nil
  }
}

/// Status codes as labels: the registered ones (IANA, HTTP Status Code Registry), and one word for the rest of each class. An
/// upstream may answer with any number, and shall not be able to make a time series of each.
package enum StatusSet {
  private static let registered: [Int] =
    Array(100...104) + Array(200...208) + [226] + Array(300...305) + [307, 308] + Array(400...417)
    + [418, 421, 422, 423, 424, 425, 426, 428, 429, 431, 451, 499] + Array(500...508) + [510, 511]

  /// By index; the last is for what is no status.
  package static let names: [String] =
    ["1xx", "2xx", "3xx", "4xx", "5xx"] + registered.map { String($0) } + ["none"]

  /// How many there are; at most ``room``.
  package static var count: Int { names.count }
  /// What a table of them is made for.
  package static let room = 72

  /// Where no answer was given, or none was asked for.
  package static let none = names.count - 1

  private static let indices: [UInt8] = (0..<600).map { status in
    if let place = registered.firstIndex(of: status) { return UInt8(5 + place) }
    return status < 100 ? UInt8(names.count - 1) : UInt8(status / 100 - 1)
  }

  package static func index(of status: Int) -> Int {
    indices.indices.contains(status) ? Int(indices[status]) : none
  }
}
