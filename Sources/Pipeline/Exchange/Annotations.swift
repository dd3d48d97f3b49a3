/// What a transport-agnostic middleware says about an exchange; HTTP renders it as header fields, others ignore it.
public struct Annotations: Sendable {
  /// The state of the strictest limit of the exchange that clients shall hear of.
  public struct RateLimit: Hashable, Sendable {
    /// The name of the limit: up to 64 printable ASCII characters are shown.
    public var policy: String
    /// What a whole limit holds.
    public var limit: Int
    /// Seconds in which an empty limit becomes whole, rounded up; `nil`: not told.
    public var windowSeconds: Int?
    public var remaining: Int
    /// Seconds until the limit is whole again, rounded up.
    public var resetSeconds: Int
    /// Seconds until there is more than `remaining`, rounded up.
    public var nextSeconds: Int

    /// - Parameter nextSeconds: `resetSeconds` where it is not given.
    public init(
      policy: String = "default", limit: Int, windowSeconds: Int? = nil, remaining: Int, resetSeconds: Int,
      nextSeconds: Int? = nil
    ) {
      self.policy = policy
      self.limit = limit
      self.windowSeconds = windowSeconds
      self.remaining = remaining
      self.resetSeconds = resetSeconds
      self.nextSeconds = nextSeconds ?? resetSeconds
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
