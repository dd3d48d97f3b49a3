public import Pipeline

/// Where the keys come from that verify tokens.
public struct JWTKeySource: Sendable {
  enum Kind: Sendable {
    case fixed([JWTKey])
    case file(String, every: Duration)
    case url(any HTTPClient, String, KeyRefresh)
  }

  let kind: Kind

  /// Keys that do not change while the program runs.
  public static func keys(_ keys: JWTKey...) -> JWTKeySource { JWTKeySource(kind: .fixed(keys)) }

  /// Keys that do not change while the program runs.
  public static func keys(_ keys: [JWTKey]) -> JWTKeySource { JWTKeySource(kind: .fixed(keys)) }

  /// A JWK Set (RFC 7517) in a file: read when the app is built, which fails without it, and again when it has
  /// changed. One that cannot be read later is reported, and the keys stay as they are. It may hold secrets (`oct`);
  /// then nobody else should be able to read it.
  ///
  /// - Parameter every: how often it is looked at; 1 second or more.
  public static func file(_ path: String, every: Duration = .seconds(10)) -> JWTKeySource {
    JWTKeySource(kind: .file(path, every: every))
  }

  /// A JWK Set that an issuer publishes. Secrets in it are not used.
  ///
  /// It is fetched with the first request, and again by a request that finds it due; others go on with the keys that
  /// are there.
  ///
  /// - Parameters:
  ///   - client: sends to the issuer's host.
  ///   - target: `/.well-known/jwks.json`.
  ///   - refresh: how often it is fetched, and how long without success its keys are used.
  public static func url(
    _ client: any HTTPClient, _ target: String, refresh: KeyRefresh = KeyRefresh()
  ) -> JWTKeySource {
    JWTKeySource(kind: .url(client, target, refresh))
  }

  /// For plans and logs.
  var description: String {
    switch kind {
    case .fixed(let keys): keys.map(\.description).joined(separator: ", ")
    case .file(let path, _): path
    case .url(let client, let target, _): client.description + target
    }
  }
}

/// How often keys are fetched from a URL.
public struct KeyRefresh: Hashable, Sendable {
  /// How old a key set becomes before a request fetches it anew. 1 second or more.
  public var every: Duration
  /// The pause after a fetch that failed, and between fetches for keys that a token names and nobody knows. 1 second
  /// or more.
  public var pause: Duration
  /// How long keys are used without a successful fetch. After that every request is refused with 503. No less than
  /// `every`.
  public var staleLimit: Duration
  /// How long one fetch may take. More than zero.
  public var timeout: Duration

  public init(
    every: Duration = .seconds(300), pause: Duration = .seconds(30), staleLimit: Duration = .seconds(86_400),
    timeout: Duration = .seconds(5)
  ) {
    self.every = every
    self.pause = pause
    self.staleLimit = staleLimit
    self.timeout = timeout
  }
}
