/// What a transport-agnostic middleware says about an exchange; HTTP renders it as header fields, others ignore it.
public struct Annotations: Sendable {
  /// The state of the strictest limit that the exchange passed.
  public struct RateLimit: Hashable, Sendable {
    public var limit: Int
    public var remaining: Int
    /// Seconds until the limit is whole again, rounded up.
    public var resetSeconds: Int

    public init(limit: Int, remaining: Int, resetSeconds: Int) {
      self.limit = limit
      self.remaining = remaining
      self.resetSeconds = resetSeconds
    }
  }

  /// Of several, the one with the least remaining.
  public internal(set) var rateLimit: RateLimit?
  /// The methods of the routes that matched but for the method: the `Allow` of a 405 (RFC 9110, 15.5.6).
  public internal(set) var allowedMethods: [String] = []
}

/// One thing said about an exchange.
public enum Annotation: Sendable {
  case rateLimit(Annotations.RateLimit)
  case allowedMethods([String])
}
