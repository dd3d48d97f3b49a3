public import Pipeline

/// Where ``Upstreams`` learn their backends from, besides the list that is written down.
///
/// ```swift
/// Upstreams(.leastConnections, from: .dns("web.internal:8080"), named: "web")
/// Upstreams(.weightedRoundRobin, from: .srv("_http._tcp.web.internal")) { Backend("10.0.0.1:80") }  // until it is known
/// Upstreams(.peakEWMA, from: .file("/etc/sluice/backends.txt"))
/// ```
/// A backend that stays in the list keeps its connections, counts and health. One that goes ends what it has and gets nothing new. A
/// source that fails changes nothing: the last list stays, and the log says why.
public struct BackendSource: Sendable, CustomStringConvertible {
  /// A place that was found. ``init(_:weight:priority:)`` and the rest are for sources of your own.
  public struct Place: Sendable, Hashable {
    /// As ``Backend`` reads it.
    public var address: String
    /// 1...10,000.
    public var weight: Int
    /// 0, or more for a reserve, as in ``Backend/priority``; of a backend whose template names no other.
    public var priority: Int

    public init(_ address: String, weight: Int = 1, priority: Int = 0) {
      self.address = address
      self.weight = weight
      self.priority = priority
    }
  }

  /// Makes a backend of a place: the options that all of them have.
  public typealias Template = @Sendable (Place) -> Backend

  let kind: Kind

  enum Kind: Sendable {
    case names(NameSource, Template)
    case file(FileSource)
    case custom(String, @Sendable (any BackgroundServices, Publish) async throws -> Void)
  }

  /// Hands a list on; throws when it cannot be used, and then the last one stays.
  public typealias Publish = @Sendable ([Backend]) throws -> Void

  /// The addresses of a name (A and AAAA): one backend for each, asked for again as long as the app runs.
  ///
  /// The name is asked for as it is, at the name servers of `/etc/resolv.conf`: no search list, no `/etc/hosts`.
  ///
  /// - Parameters:
  ///   - address: `host:port`.
  ///   - family: which addresses are taken: `.ipv4Only`, `.ipv6Only`, else both.
  ///   - atLeast: an answer is kept so long though it says less; more than 0.
  ///   - atMost: an answer is kept no longer though it says more; `atLeast` or more.
  ///   - hold: how long "there is no such name", and "it has no address", must last until the list is emptied; 0: at once. A
  ///     server that does not answer never empties it.
  ///   - servers: name servers, `1.2.3.4` or `1.2.3.4:53`; none: those of `/etc/resolv.conf`.
  ///   - template: the options that all backends have.
  public static func dns(
    _ address: String, family: Way.Family = .resolver, atLeast: Duration = .seconds(5),
    atMost: Duration = .seconds(300),
    hold: Duration = .seconds(30), servers: [String] = [],
    template: @escaping Template = { Backend($0.address, weight: $0.weight) }
  ) -> BackendSource {
    BackendSource(
      kind: .names(
        NameSource(.addresses(address), family, atLeast: atLeast, atMost: atMost, hold: hold, servers: servers),
        template))
  }

  /// The places of a service (SRV, RFC 2782): one backend for each address of each target, with the port and the weight that the
  /// record says. Those of a worse priority are the reserve of the better ones (``Backend/priority``).
  ///
  /// - Parameters:
  ///   - service: the whole name: `_http._tcp.web.internal`.
  ///   - family, atLeast, atMost, hold, servers, template: as for ``dns(_:family:atLeast:atMost:hold:servers:template:)``.
  public static func srv(
    _ service: String, family: Way.Family = .resolver, atLeast: Duration = .seconds(5),
    atMost: Duration = .seconds(300),
    hold: Duration = .seconds(30), servers: [String] = [],
    template: @escaping Template = { Backend($0.address, weight: $0.weight) }
  ) -> BackendSource {
    BackendSource(
      kind: .names(
        NameSource(.service(service), family, atLeast: atLeast, atMost: atMost, hold: hold, servers: servers), template)
    )
  }

  /// The lines of a file, a backend each, read again when it changes:
  ///
  ///     # address [weight=N] [priority=N] [name=TEXT] [max=N] [queue=N]
  ///     10.0.0.1:9001 weight=2
  ///     10.0.0.2:9001 name=blue max=200 queue=50
  ///
  /// A file with a mistake, without a backend, or that is gone changes nothing; the log names file and line. Write another file
  /// and rename it to this one: what is half written is only told from what is whole when it stays so for one interval.
  ///
  /// - Parameters:
  ///   - path: a link is followed each time it is looked at.
  ///   - interval: how often it is looked at; more than 0.
  public static func file(_ path: String, every interval: Duration = .seconds(1)) -> BackendSource {
    BackendSource(kind: .file(FileSource(path: path, interval: interval)))
  }

  /// A source of your own: `body` runs as long as the app does and publishes a list when there is a new one. An error that it
  /// throws is logged, and it is started again after a while.
  ///
  /// - Parameter name: for logs and plans.
  public static func custom(
    _ name: String, _ body: @escaping @Sendable (any BackgroundServices, Publish) async throws -> Void
  ) -> BackendSource {
    BackendSource(kind: .custom(name, body))
  }

  /// `dns web.internal:8080`, …
  public var description: String {
    switch kind {
    case .names(let source, _): source.description
    case .file(let source): "file \(source.path)"
    case .custom(let name, _): name
    }
  }

  /// What keeps it from being used, one sentence each.
  var problems: [String] {
    switch kind {
    case .names(let source, _): source.problems
    case .file(let source): source.problems
    case .custom: []
    }
  }

  /// Looks for backends as long as the app runs, and hands each new list to `publish`.
  func run(
    _ services: any BackgroundServices, asking: (any DNSAsking)? = nil, publish: @escaping Publish
  ) async throws {
    switch kind {
    case .names(let source, let template):
      let client = asking ?? DNSClient(servers: source.servers)
      try await source.run(services, asking: client) { places in
        try publish(
          places.map { place in
            let backend = template(place)
            return backend.priority == 0 ? backend.inPriority(place.priority) : backend
          })
      }
    case .file(let source): try await source.run(services, publish: publish)
    case .custom(_, let body): try await body(services, publish)
    }
  }
}
