/// What an HTTP listener takes from its clients and from the origins behind it. Every limit has its status.
public struct HTTPOptions: Hashable, Sendable {
  // MARK: Sizes

  /// Bytes of the request line without its line end; longer: 414. 8 KiB.
  public var maxRequestLine = 8 * 1024
  /// Bytes of a head with its request line; longer: 431. The same limit holds for an origin's head: 502. 32 KiB.
  public var maxHead = 32 * 1024
  /// Fields of a head; more: 431, or 502 for an origin's. 128.
  public var maxFields = 128
  /// Bytes of a request's body; longer: 413, before a byte goes on where the length is declared. `nil`: no limit.
  public var maxBody: UInt64?
  /// Bytes of the trailers; more: 431, or a cut where the response has begun. 8 KiB.
  public var maxTrailers = 8 * 1024
  /// Bytes of chunk extensions in one body, all chunks together; more: 400. 16 KiB.
  public var maxChunkExtensions = 16 * 1024

  // MARK: Times

  /// For a request's head, from its first byte (from accept for the first one); longer: 408. 10 s.
  public var headTimeout = Duration.seconds(10)
  /// The rate that a request's body has to keep on average, in bytes per second, after `bodyGrace`; slower: 408. `nil`: none.
  public var minBodyRate: Int? = 240
  /// How long a slow body is borne. 5 s.
  public var bodyGrace = Duration.seconds(5)
  /// For an origin's head, from the end of the request; longer: 504. 15 s.
  public var responseTimeout = Duration.seconds(15)
  /// How long a body may stand still, either way: a response is cut, a request ends in 408. 30 s.
  public var bodyIdleTimeout = Duration.seconds(30)

  // MARK: Connections

  /// How long a connection is kept without a request. 60 s.
  public var keepAliveTimeout = Duration.seconds(60)
  /// Requests that one connection may carry; the last one is answered with `connection: close`. `nil`: no limit.
  public var maxRequestsPerConnection: Int?
  /// Whether a client that has finished writing still waits for its response. Off: it is taken for gone, and what is done
  /// for it ends at once.
  public var toleratesHalfClose = false

  // MARK: What is said of others

  /// The peers whose `forwarded` and `x-forwarded-*` fields are believed, walked from the right. Empty: nobody's.
  public var trustedProxies: [CIDR] = []
  /// Whether peers on a Unix socket are believed, too.
  public var trustsUnixPeers = false
  /// The name of this proxy in `via` (RFC 9110, 7.6.3), a token. Who shares a name takes the other's requests for its own
  /// that have come round, so proxies that stand in a row need different ones. `nil`: `sluice-` and eight random hexadecimal
  /// digits, new for each listener and start.
  public var viaName: String?
  /// Which of the fields are written that tell an origin of the client.
  public var forwarding = ForwardingFields.all

  public init() {}
}

/// The fields that tell an origin of the client.
public struct ForwardingFields: OptionSet, Hashable, Sendable {
  public let rawValue: UInt8
  public init(rawValue: UInt8) { self.rawValue = rawValue }

  /// `forwarded` (RFC 7239).
  public static let forwarded = ForwardingFields(rawValue: 1)
  /// `x-forwarded-for`, `x-forwarded-proto` and `x-forwarded-host`.
  public static let xForwarded = ForwardingFields(rawValue: 2)
  /// `x-forwarded-by` with the name of this proxy.
  public static let forwardedBy = ForwardingFields(rawValue: 4)
  /// `x-backend-url` on the response: who answered. Tells clients about the network behind; for debugging.
  public static let backendURL = ForwardingFields(rawValue: 8)

  /// `forwarded` and `x-forwarded-*`.
  public static let all: ForwardingFields = [.forwarded, .xForwarded]
}
