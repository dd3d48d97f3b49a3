public import Pipeline

/// How many tokens an exchange takes.
///
/// ```swift
/// cost: 5
/// cost: .each { exchange in exchange.listener.name == "upload" ? 10 : 1 }
/// cost: .bytes(estimate: 4096)                                    // what was relayed, both ways
/// cost: .settled(estimate: 10) { exchange in exchange[QueryCost.self] }
/// cost: .responseField("x-cost", estimate: 10)                    // HTTP only
/// ```
/// A cost that is known only at the end is reserved first: the estimate is taken before the exchange goes on, and afterwards,
/// however it ended, the difference is charged or given back, once. Costs below 0 count as 0, over 1,000,000,000 as that; an
/// exchange that costs 0 is not asked about.
public struct LimitCost: Sendable, ExpressibleByIntegerLiteral {
  enum Estimate: Sendable {
    case fixed(Int)
    case each(@Sendable (Exchange) -> Int)
  }

  enum Actual: Sendable {
    case asEstimated
    case measured(@Sendable (Exchange) -> Int?)
    case responseField(HeaderName)
  }

  let estimate: Estimate
  let actual: Actual

  private init(_ estimate: Estimate, _ actual: Actual = .asEstimated) {
    self.estimate = estimate
    self.actual = actual
  }

  public init(integerLiteral tokens: Int) { self = .fixed(tokens) }

  /// The same for every exchange.
  public static func fixed(_ tokens: Int) -> LimitCost { LimitCost(.fixed(tokens)) }

  /// By what is known of the exchange when it begins.
  public static func each(_ tokens: @escaping @Sendable (Exchange) -> Int) -> LimitCost { LimitCost(.each(tokens)) }

  /// By what is known of the exchange when it has ended, however it did.
  ///
  /// - Parameters:
  ///   - estimate: taken before.
  ///   - actual: what it was; `nil`: what was estimated.
  public static func settled(
    estimate: Int, actual: @escaping @Sendable (Exchange) -> Int?
  ) -> LimitCost { LimitCost(.fixed(estimate), .measured(actual)) }

  /// A token for every byte that was relayed, both ways.
  public static func bytes(estimate: Int) -> LimitCost {
    .settled(estimate: estimate) { Int(clamping: $0.traffic.total) }
  }

  /// What the upstream's answer says in a field, as a decimal number; where there is none, or no answer, what was estimated.
  /// Only on HTTP.
  public static func responseField(_ name: HeaderName, estimate: Int) -> LimitCost {
    LimitCost(.fixed(estimate), .responseField(name))
  }

  static let most = 1_000_000_000

  func estimate(_ exchange: Exchange) -> Int {
    switch estimate {
    case .fixed(let tokens): tokens
    case .each(let tokens): min(max(tokens(exchange), 0), Self.most)
    }
  }

  var isSettled: Bool { if case .asEstimated = actual { false } else { true } }

  func validate(into problems: inout Problems) {
    if case .fixed(let tokens) = estimate, !(0...Self.most).contains(tokens) {
      problems.refuse("a cost of \(tokens): 0 to 1,000,000,000 tokens are allowed")
    }
    if case .responseField(let name) = actual, problems.transport != "http" {
      problems.refuse("its cost is read from the field \(name) of a response, which only HTTP has: use .settled")
    }
  }
}

/// The costs that responses have named, for the limits above that wait for them.
struct NamedCosts: ExchangeKey {
  static var defaultValue: NamedCosts { NamedCosts() }

  // One is what there usually is; only more allocate.
  private var first: (limit: ObjectIdentifier, cost: Int)?
  private var others: [(limit: ObjectIdentifier, cost: Int)] = []

  subscript(_ limit: AnyObject) -> Int? {
    get {
      let limit = ObjectIdentifier(limit)
      if let first, first.limit == limit { return first.cost }
      return others.last { $0.limit == limit }?.cost
    }
    set {
      let limit = ObjectIdentifier(limit)
      if first == nil || first?.limit == limit {
        first = newValue.map { (limit, $0) }
      } else {
        others.removeAll { $0.limit == limit }
        if let newValue { others.append((limit, newValue)) }
      }
    }
  }
}
