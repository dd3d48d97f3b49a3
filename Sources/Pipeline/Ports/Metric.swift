/// Something that is measured: a name, what kind of number it is, and a sentence that says what it counts.
///
/// ```swift
/// static let ejections = Metric.counter("proxy_backend_ejections_total", "Times that a backend was taken out")
/// ```
/// Written in the source and nowhere else: neither name nor help can be built from what a client sends. The names follow the
/// practice of Prometheus: base units (`_seconds`, `_bytes`), counters end in `_total`. A name that does not is a mistake of
/// its author and ends the program where the metric is made.
public struct Metric: Sendable, Hashable {
  /// What kind of number it is.
  public enum Kind: String, Sendable, Hashable, CaseIterable {
    /// Only grows, until the process ends.
    case counter
    /// Goes up and down.
    case gauge
    /// How many observations fell below each of some bounds, and their sum.
    case histogram
  }

  /// What becomes of two samples that have the same labels, from two sources.
  public enum Joining: Sendable, Hashable {
    /// They are parts of one number.
    case sum
    /// They are the same thing seen twice: the worse word counts (0 of 0 and 1).
    case least
  }

  /// `proxy_requests_total`
  public let name: String
  /// One sentence without a full stop.
  public let help: String
  public let kind: Kind
  /// What becomes of samples with the same labels.
  public let joining: Joining

  private init(_ name: StaticString, _ help: StaticString, _ kind: Kind, _ joining: Joining = .sum) {
    self.name = "\(name)"
    self.help = "\(help)"
    self.kind = kind
    self.joining = joining
    if let problem = Self.problem(with: self.name, of: kind) { preconditionFailure("metric \(name): \(problem)") }
  }

  /// Only grows. Its name ends in `_total`.
  public static func counter(_ name: StaticString, _ help: StaticString) -> Metric { Metric(name, help, .counter) }

  /// Goes up and down.
  public static func gauge(_ name: StaticString, _ help: StaticString, joining: Joining = .sum) -> Metric {
    Metric(name, help, .gauge, joining)
  }

  /// Observations by bounds. Its name ends in its unit, `_seconds` or `_bytes`.
  public static func histogram(_ name: StaticString, _ help: StaticString) -> Metric { Metric(name, help, .histogram) }

  /// What is wrong with a name; `nil`: nothing.
  static func problem(with name: String, of kind: Kind) -> String? {
    guard isName(name) else { return "a name is letters, digits, _ and :, and does not begin with a digit" }
    switch kind {
    case .counter: return name.hasSuffix("_total") ? nil : "the name of a counter ends in _total"
    case .gauge:
      let reserved = ["_total", "_count", "_sum", "_bucket", "_created"].first { name.hasSuffix($0) }
      return reserved.map { "\($0) is no end for the name of a gauge" }
    case .histogram:
      let isInUnits = name.hasSuffix("_seconds") || name.hasSuffix("_bytes")
      return isInUnits ? nil : "the name of a histogram ends in its base unit, _seconds or _bytes"
    }
  }

  /// `[a-zA-Z_:][a-zA-Z0-9_:]*`, the data model's rule.
  private static func isName(_ name: String) -> Bool {
    guard let first = name.utf8.first, !isDigit(first) else { return false }
    return name.utf8.allSatisfy { isLetter($0) || isDigit($0) || $0 == UInt8(ascii: ":") }
  }

  static func isLetter(_ byte: UInt8) -> Bool {
    (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte) || (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(byte)
      || byte == UInt8(ascii: "_")
  }

  static func isDigit(_ byte: UInt8) -> Bool { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) }
}

/// Something that has numbers to show: a server, a group of upstreams, a store.
///
/// What the elements and destinations of a chain name (``Component/metricSources``: without another word their state object,
/// where it conforms) is asked at every scrape, once however many listeners share it; nothing has to be registered. What stands
/// in no chain is given to the page by hand.
///
/// Asked on any thread, while exchanges run: it reads atomics, or takes its lock for a moment, and does not wait.
public protocol MetricSource: AnyObject, Sendable {
  /// Adds what is known now.
  func collect(into page: inout MetricPage)
}

extension Placement {
  /// Asks the sources of the chain, each once.
  ///
  /// - Parameter seen: the objects that were asked for this page already.
  public func collect(into page: inout MetricPage, seen: inout Set<ObjectIdentifier>) {
    for entry in entries {
      for source in core(of: entry.component).metricSources where seen.insert(ObjectIdentifier(source)).inserted {
        page.owner = MetricLabel(configured: entry.qualifiedName)
        source.collect(into: &page)
      }
    }
    page.owner = nil
  }
}
