public import Pipeline

/// A text format for metrics.
public struct MetricFormat: Sendable, Hashable {
  private enum Kind: Hashable { case prometheus, openMetrics }
  private let kind: Kind

  /// The text format of Prometheus, version 0.0.4: what everything reads.
  public static let prometheus = MetricFormat(kind: .prometheus)
  /// OpenMetrics 1.0: types and units are exact, and its last line says that nothing is missing.
  public static let openMetrics = MetricFormat(kind: .openMetrics)

  /// For the `content-type` field.
  public var contentType: String {
    switch kind {
    case .prometheus: "text/plain; version=0.0.4; charset=utf-8"
    case .openMetrics: "application/openmetrics-text; version=1.0.0; charset=utf-8"
    }
  }

  /// What the `accept` field asks for: OpenMetrics for who names it, in version 1.0.0 or in none, at least as gladly as plain
  /// text; the format of Prometheus for everybody else.
  public init(for fields: HeaderFields) {
    var plain = 0
    var open = 0
    fields.forEach { name, value in
      guard ("accept" as HeaderName).matches(name) else { return }
      forEachListItem(value) { item in
        let (range, version, quality) = AcceptedType.read(item)
        if range == "text/plain" { plain = max(plain, quality) }
        if range == "application/openmetrics-text", version == nil || version == "1.0.0" { open = max(open, quality) }
      }
    }
    self = open > 0 && open >= plain ? .openMetrics : .prometheus
  }

  private init(kind: Kind) { self.kind = kind }

  /// The whole page. The bytes are UTF-8; lines end in LF.
  public func text(of page: MetricPage) -> [UInt8] {
    var writer = MetricWriter(isOpenMetrics: kind == .openMetrics)
    for family in page.families { writer.write(family) }
    return writer.finished()
  }
}

/// One item of an `accept` field.
private enum AcceptedType {
  /// The media range in lower case, its version, its quality in thousandths. Only who asks for metrics pays for the texts.
  static func read(_ item: borrowing Span<UInt8>) -> (range: String, version: String?, quality: Int) {
    var bytes: [UInt8] = []
    for i in 0..<item.count where item[i] != 32 && item[i] != 9 { bytes.append(item[i]) }
    let parts = bytes.split(separator: UInt8(ascii: ";")).map { String(decoding: $0, as: UTF8.self).lowercased() }
    var version: String?
    var quality = 1000
    for part in parts.dropFirst() {
      if part.hasPrefix("version=") {
        version = part.dropFirst(8).trimmed(of: "\"")
      } else if part.hasPrefix("q=") {
        quality = Double(part.dropFirst(2)).map { Int(max(0, min($0, 1)) * 1000) } ?? 0
      }
    }
    return (parts.first ?? "", version, quality)
  }
}

extension Substring {
  fileprivate func trimmed(of mark: Character) -> String {
    var text = self
    if text.first == mark { text.removeFirst() }
    if text.last == mark { text.removeLast() }
    return String(text)
  }
}

/// Writes families one after the other.
private struct MetricWriter {
  let isOpenMetrics: Bool
  private var out: [UInt8] = []

  init(isOpenMetrics: Bool) {
    self.isOpenMetrics = isOpenMetrics
    out.reserveCapacity(16 * 1024)
  }

  mutating func finished() -> [UInt8] {
    if isOpenMetrics { out += "# EOF\n".utf8 }
    return out
  }

  mutating func write(_ family: MetricPage.Family) {
    let metric = family.metric
    // OpenMetrics names a counter's family without the end that its samples have.
    let name = isOpenMetrics && metric.kind == .counter ? String(metric.name.dropLast(6)) : metric.name
    line("# HELP ", name, " ", escaped(metric.help, quotes: isOpenMetrics))
    line("# TYPE ", name, " ", metric.kind.rawValue)
    if isOpenMetrics, let unit = unit(of: name) { line("# UNIT ", name, " ", unit) }
    for sample in family.samples {
      switch sample.value {
      case .number(let value): write(metric.name, sample.labels, value)
      case .buckets(let buckets): write(metric.name, sample.labels, buckets)
      }
    }
  }

  /// OpenMetrics, 4.4.3: the unit is the end of the name.
  private func unit(of name: String) -> String? { ["seconds", "bytes"].first { name.hasSuffix("_\($0)") } }

  private mutating func write(_ name: String, _ labels: MetricLabels, _ buckets: MetricBuckets) {
    var below = 0
    for (index, count) in buckets.counts.enumerated() {
      below += count
      let bound = index < buckets.bounds.count ? boundText(buckets.bounds[index]) : "+Inf"
      write("\(name)_bucket", labels, Double(below), le: bound)
    }
    write("\(name)_sum", labels, buckets.sum)
    write("\(name)_count", labels, Double(below))
  }

  private mutating func write(_ name: String, _ labels: MetricLabels, _ value: Double, le: String? = nil) {
    out += name.utf8
    var pairs: [String] = []
    labels.forEach { pairs.append("\($0)=\"\(escaped($1, quotes: true))\"") }
    if let le { pairs.append("le=\"\(le)\"") }
    if !pairs.isEmpty { out += "{\(pairs.joined(separator: ","))}".utf8 }
    line(" ", number(value))
  }

  private mutating func line(_ parts: String...) {
    for part in parts { out += part.utf8 }
    out.append(UInt8(ascii: "\n"))
  }

  /// A backslash and a line's end would end or forge a line, a quotation mark a label.
  private func escaped(_ text: String, quotes: Bool) -> String {
    guard text.utf8.contains(where: { $0 == 0x5c || $0 == 0x0a || $0 == 0x22 }) else { return text }
    var out = ""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\\": out += #"\\"#
      case "\n": out += #"\n"#
      case "\"": out += quotes ? #"\""# : "\""
      default: out.unicodeScalars.append(scalar)
      }
    }
    return out
  }

  private func number(_ value: Double) -> String {
    if value.isNaN { return "NaN" }
    if value.isInfinite { return value < 0 ? "-Inf" : "+Inf" }
    // Whole numbers without a fraction, as far as they are exact.
    if value.rounded() == value, value.magnitude < 9_007_199_254_740_992 { return String(Int(value)) }
    return String(value)
  }

  /// A label and no number: OpenMetrics wants its canonical form, with a fraction; Prometheus has always had it without.
  private func boundText(_ bound: Double) -> String { isOpenMetrics ? String(bound) : number(bound) }
}
