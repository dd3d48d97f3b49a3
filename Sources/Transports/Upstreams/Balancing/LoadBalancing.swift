public import Pipeline

/// How one of several backends is chosen for an exchange.
///
/// Whatever the strategy: one that is down, ejected, disabled, full or was tried by this exchange before is passed over while
/// another one is left. `Docs/LoadBalancing.md` compares them.
public struct LoadBalancing: Sendable, CustomStringConvertible {
  indirect enum Kind: Sendable {
    /// In turn; by weights where they count.
    case turns(weighted: Bool)
    case leastConnections
    case random
    case twoChoices
    case peakEWMA(decay: Duration)
    case hash(BalanceKey, bound: Double?)
    case sticky(StickyCookie, otherwise: LoadBalancing)
  }

  let kind: Kind

  /// In turn, one exchange each, whatever the weights say.
  public static let roundRobin = LoadBalancing(kind: .turns(weighted: false))

  /// In turn by weights, evenly spread: of weights 5, 1, 1 come `a a b a c a a` and not `a a a a a b c` (smooth weighted round
  /// robin of nginx).
  public static let weightedRoundRobin = LoadBalancing(kind: .turns(weighted: true))

  /// The one with the fewest exchanges for its weight; among equals in turn. Looks at every backend.
  public static let leastConnections = LoadBalancing(kind: .leastConnections)

  /// Any, by weights.
  public static let random = LoadBalancing(kind: .random)

  /// Of two drawn at random the one with fewer exchanges for its weight (Mitzenmacher 2001): as good as the fewest of all, at
  /// a constant cost, and several proxies do not all run to the same backend.
  public static let powerOfTwoChoices = LoadBalancing(kind: .twoChoices)

  /// Of two drawn at random the one that would be through sooner: its latency, times what it has to do, for its weight. A slow
  /// answer counts at once, a fast one by and by (Finagle's peak EWMA). For backends that differ in speed or have pauses.
  ///
  /// - Parameter decay: after so long a latency counts a third of what it did; more than zero.
  public static func peakEWMA(decay: Duration = .seconds(10)) -> LoadBalancing {
    LoadBalancing(kind: .peakEWMA(decay: decay))
  }

  /// By the client's address (IPv6: its /64): the same client goes to the same backend, in every process that names the same
  /// backends.
  public static let clientAddressHash = LoadBalancing(kind: .hash(.clientAddress, bound: nil))

  /// By a key, with rendezvous hashing: one that goes moves its own keys only, one that comes takes only its share. An exchange
  /// without a key goes anywhere, by weights.
  ///
  /// - Parameter boundedLoad: how much more than its share of what runs one may have, 1.01...10 (Mirrokni, Thorup, Zadimoghaddam
  ///   2018: consistent hashing with bounded loads); a key whose backend has so much goes to its next one. `nil`: no bound.
  public static func hash(_ key: BalanceKey, boundedLoad: Double? = nil) -> LoadBalancing {
    LoadBalancing(kind: .hash(key, bound: boundedLoad))
  }

  /// HTTP: a client keeps its backend by a cookie, as long as that one is up; a client without one, or whose backend is gone,
  /// is given one by `strategy`. A backend that is drained keeps the clients that it has.
  public static func sticky(_ cookie: StickyCookie, otherwise strategy: LoadBalancing = .leastConnections)
    -> LoadBalancing
  {
    LoadBalancing(kind: .sticky(cookie, otherwise: strategy))
  }

  /// `weighted round robin`, `hash of the client address`, …
  public var description: String {
    switch kind {
    case .turns(let weighted): weighted ? "weighted round robin" : "round robin"
    case .leastConnections: "least connections"
    case .random: "random"
    case .twoChoices: "power of two choices"
    case .peakEWMA: "peak EWMA"
    case .hash(let key, let bound):
      "hash of the \(key)" + (bound.map { ", at most \($0) times the share" } ?? "")
    case .sticky(let cookie, let strategy): "cookie \(cookie.name), else \(strategy)"
    }
  }

  func validate(into problems: inout Problems) {
    switch kind {
    case .turns, .leastConnections, .random, .twoChoices: break
    case .peakEWMA(let decay):
      if decay <= .zero { problems.refuse("a decay of \(decay): it must be more than 0 seconds") }
    case .hash(let key, let bound):
      if let bound, !(1.01...10).contains(bound) {
        problems.refuse("a bounded load of \(bound): 1.01 to 10 times the share are allowed")
      }
      if key.needsHTTP, problems.transport != "http", problems.transport != "any" {
        problems.refuse("the \(key) is part of an HTTP request: use another key here, or a Listener(.http, ...)")
      }
    case .sticky(let cookie, let strategy):
      if problems.transport != "http", problems.transport != "any" {
        problems.refuse("a cookie needs HTTP: use .clientAddressHash here, or a Listener(.http, ...)")
      }
      if let problem = cookie.problem { problems.refuse(problem) }
      if case .sticky = strategy.kind { problems.refuse("sticky in sticky: keep one of the cookies") }
      strategy.validate(into: &problems)
    }
  }
}

/// The cookie of a sticky strategy.
public struct StickyCookie: Sendable {
  public let name: String
  let secret: Secret<String>
  let lifetime: Duration?

  /// - Parameters:
  ///   - name: a token of RFC 6265.
  ///   - secret: mixed into the value, so that nobody learns the backends' names by trying some; the same in every process
  ///     that shares clients. A hash protects no more than that: the cookie says which backend, not who the client is.
  ///   - lifetime: how long the client keeps it, 1 s or more; `nil`: as long as its browser runs.
  public init(_ name: String = "backend", secret: Secret<String> = Secret(""), lifetime: Duration? = nil) {
    self.name = name
    self.secret = secret
    self.lifetime = lifetime
  }

  var problem: String? {
    let isToken =
      !name.isEmpty && name.utf8.allSatisfy { (0x21...0x7e).contains($0) && !"()<>@,;:\\\"/[]?={}".utf8.contains($0) }
    if !isToken { return "\"\(name)\" is no name of a cookie: write letters, digits, - and _" }
    if let lifetime, lifetime < .seconds(1) { return "a cookie that lives \(lifetime): 1 second or more is allowed" }
    return nil
  }

  /// What stands for a backend; never 0.
  func token(of backend: String) -> UInt64 { max(1, Rendezvous.hash("\(secret.reveal())/\(backend)")) }

  /// The value of `set-cookie` (RFC 6265, 4.1).
  func text(for token: UInt64, isSecure: Bool) -> String {
    let digits = String(token, radix: 16)
    var text = "\(name)=\(String(repeating: "0", count: 16 - digits.count))\(digits); Path=/; HttpOnly; SameSite=Lax"
    if let lifetime { text += "; Max-Age=\(lifetime.secondsRoundedUp)" }
    if isSecure { text += "; Secure" }
    return text
  }

  /// The token that a request carries.
  func token(in exchange: HTTPExchange) -> UInt64? {
    exchange.request.fields.withValue(of: "cookie") { line in
      guard let line, let value = cookieValue(name, in: line), value.count == 16 else { return nil }
      var token: UInt64 = 0
      for i in value {
        guard let digit = hexDigit(line[i]) else { return nil }
        token = token << 4 | UInt64(digit)
      }
      return token
    }
  }
}

private func hexDigit(_ byte: UInt8) -> UInt8? {
  switch byte {
  case UInt8(ascii: "0")...UInt8(ascii: "9"): byte - UInt8(ascii: "0")
  case UInt8(ascii: "a")...UInt8(ascii: "f"): byte - UInt8(ascii: "a") + 10
  default: nil
  }
}

/// Where the value of a cookie stands in a `cookie` field (RFC 6265, 4.2.1); of several with this name the first.
func cookieValue(_ name: String, in line: borrowing Span<UInt8>) -> Range<Int>? {
  let wanted = name.utf8.span
  var begin = 0
  while begin < line.count {
    while begin < line.count, line[begin] == UInt8(ascii: " ") || line[begin] == UInt8(ascii: ";") { begin += 1 }
    var end = begin
    while end < line.count, line[end] != UInt8(ascii: ";") { end += 1 }
    let value = begin + wanted.count + 1
    if value <= end, line[value - 1] == UInt8(ascii: "=") {
      var isIt = true
      for i in 0..<wanted.count where line[begin + i] != wanted[i] { isIt = false }
      if isIt { return value..<end }
    }
    begin = end
  }
  return nil
}
