import Pipeline

/// What the commands with an HTTP listener can be told besides ``ServiceSettings``.
struct HTTPSettings {
  static let flags: [Flag] = [
    .value("response-timeout", "TIME", "for an origin's response head, from the end of the request", default: "15s"),
    .value("keepalive-timeout", "TIME", "how long a client's connection is kept without a request", default: "60s"),
    .list(
      "trusted-proxy", "BLOCK",
      "a proxy in front, whose word about clients is believed (Forwarded, X-Forwarded-For): 10.0.0.0/8 or one address"),
  ]

  var responseTimeout: Duration
  var keepAliveTimeout: Duration
  var trustedProxies: [CIDR]

  init(_ flags: ParsedFlags) throws {
    responseTimeout = try flags.time("response-timeout")
    keepAliveTimeout = try flags.time("keepalive-timeout")
    trustedProxies = try flags.blocks("trusted-proxy")
  }

  func apply(to options: inout ListenerOptions) {
    options.http.responseTimeout = responseTimeout
    options.http.keepAliveTimeout = keepAliveTimeout
    options.http.trustedProxies = trustedProxies
  }
}
