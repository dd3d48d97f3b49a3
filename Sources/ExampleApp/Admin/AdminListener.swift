import Middlewares
import Pipeline
import Transports

/// Where operators ask: an HTTP listener of our own, on a Unix socket for its owner alone, and on a TCP address for monitoring
/// and health checks. The latter shows no user, and changes nothing but upstreams.
struct AdminListener {
  enum Place {
    /// The path of a Unix socket.
    case socket(String)
    /// - Parameter names: hosts that a request may be for, besides addresses and `localhost`.
    case http(SocketAddress, names: [String])
  }

  /// The names of the two listeners.
  static let socketName = "admin"
  static let httpName = "admin-http"
  /// Connections that may be open at once on TCP: a monitoring and a balancer need a few.
  static let mostConnections = 100

  let place: Place
  let desk: AdminDesk

  private var isForOwner: Bool {
    switch place {
    case .socket: true
    case .http: false
    }
  }

  private var listening: (address: String, name: String) {
    switch place {
    case .socket(let path): ("unix:\(path)", Self.socketName)
    case .http(let address, names: _): (address.description, Self.httpName)
    }
  }

  @ProxyBuilder var body: some Proxy {
    let routes = AdminRoutes(desk: desk, isForOwner: isForOwner)
    Listener(.http, on: listening.address, name: listening.name) {
      switch place {
      case .socket: OwnerOnly()
      case .http(_, let names): AdminGuard(names: names)
      }
      AdminUpkeep(desk)
    } to: {
      Route("/healthz", methods: [.get], matching: .exact, to: { Handle(routes.health) })
      Route("/readyz", methods: [.get], matching: .exact, to: { Handle(routes.readiness) })
      Route("/metrics", methods: [.get], matching: .exact, to: { ServeMetrics { [desk] in desk.collect(into: &$0) } })
      Route("/stats", methods: [.get], matching: .exact, to: { Handle(routes.stats) })
      Route("/chain", methods: [.get], matching: .exact, to: { Handle(routes.chain) })
      Route("/connections", methods: [.get], matching: .exact, to: { Handle(routes.connections) })
      Route("/upstreams", methods: [.get], matching: .exact, to: { Handle(routes.upstreams) })
      Route(
        "/upstreams/:upstream/:backend/:action", methods: [.post], matching: .exact,
        to: { Handle(routes.changeBackend) })
      if isForOwner {
        Route("/users", methods: [.get], matching: .exact, to: { Handle(routes.users) })
        Route("/users/:name/stats", methods: [.get], matching: .exact, to: { Handle(routes.userStats) })
        Route("/users/:name/:action", methods: [.post], matching: .exact, to: { Handle(routes.change) })
        Route("/flush", methods: [.post], matching: .exact, to: { Handle(routes.flush) })
        Route("/reload", methods: [.post], matching: .exact, to: { Handle(routes.reloadSettings) })
        Route("/reload-users", methods: [.post], matching: .exact, to: { Handle(routes.reload) })
      }
    }.options { options in
      switch place {
      case .socket:
        options.unixSocketMode = 0o600
        options.http.keepAliveTimeout = .seconds(10)
      case .http:
        options.isForOperators = true
        options.maxConnections = Self.mostConnections
      }
      // What is ordered here stands in the path.
      options.http.maxBody = 64 * 1024
    }
  }
}

/// Hands the desk what background work needs.
struct AdminUpkeep: Middleware {
  static let label = "upkeep"
  let desk: AdminDesk

  init(_ desk: AdminDesk) { self.desk = desk }

  var state: AnyObject? { desk }

  func handle(_ exchange: Exchange, next: Next) async throws -> Summary { try await next() }

  func run(_ services: any BackgroundServices) async throws { desk.lend(services) }
}
