import Glibc
import Testing

@testable import ExampleApp

/// What an operator gets wrong, and the sentence that says how to mend it.
@Suite struct SettingsMistakesTests {
  struct Mistake: Sendable {
    let text: String
    let said: String

    init(_ text: String, _ said: String) {
      self.text = text
      self.said = said
    }
  }

  private static let mistakes: [Mistake] = [
    // Keys.
    Mistake(
      "@server:\n  readTimeOut: 5s\n",
      """
      proxy.yaml:3: server.readTimeOut is not known; did you mean server.readTimeout? known in server are \
      address, port, readTimeout, writeTimeout, idleTimeout, connectTimeout, requestTimeout, tlsCertFile, \
      tlsKeyFile, maxConcurrentRequests, queuedRequests, maxConnections, trustedProxies, accessLog, workers, \
      grace
      """),
    Mistake(
      "@readTimeout: 5s\n",
      """
      proxy.yaml:2: readTimeout is not known; did you mean server.readTimeout? known sections are server, \
      loadBalance, servers, load_balancing, health, health_checks, retries, rateLimit, cache, admin, tracing
      """),
    Mistake(
      "@rate_limit: {capacity: 5}\n",
      """
      proxy.yaml:2: rate_limit is not known; did you mean rateLimit? known sections are server, loadBalance, \
      servers, load_balancing, health, health_checks, retries, rateLimit, cache, admin, tracing
      """),
    Mistake(
      "servers:\n  - uri: http://a:1\n",
      """
      proxy.yaml:2: servers[0].uri is not known; did you mean url? known are url, weight
      """),
    Mistake(
      "@loadBalance:\n  backends: [http://b:2]\n",
      """
      proxy.yaml:3: loadBalance.backends says the same as proxy.yaml:1 servers; keep one of them
      """),
    // Values.
    Mistake(
      "@server:\n  readTimeout: 30\n",
      """
      proxy.yaml:3: server.readTimeout: "30" is not allowed; allowed is 1ms to 24h, with its unit: 500ms, 30s, \
      5m, 1h30m
      """),
    Mistake(
      "@server: {port: 99999}\n",
      """
      proxy.yaml:2: server.port: "99999" is not allowed; allowed is a port, 1 to 65535
      """),
    Mistake(
      "@load_balancing:\n  strategy: fastest\n",
      """
      proxy.yaml:3: load_balancing.strategy: "fastest" is not allowed; allowed is one of round-robin, \
      weighted-round-robin, least-connections, ip-hash, random, power-of-two, peak-ewma, sticky-cookie
      """),
    Mistake(
      "@cache: {enabled: maybe}\n",
      """
      proxy.yaml:2: cache.enabled: "maybe" is not allowed; allowed is true or false
      """),
    Mistake(
      "servers:\n  - url: ftp://a:1\n",
      """
      proxy.yaml:2: servers[0].url: "ftp://a:1" is not allowed; allowed is http://HOST:PORT \
      (http://10.0.0.1:9001), tcp://HOST:PORT for raw TCP, or http://unix:/path; HOST:PORT alone is http
      """),
    Mistake(
      "servers:\n  - url: http://a:1\n    weight: 0\n",
      """
      proxy.yaml:3: servers[0].weight: "0" is not allowed; allowed is a whole number, 1 to 1000
      """),
    Mistake(
      "servers:\n  - url: http://a:1/api\n",
      """
      proxy.yaml:2: servers[0].url: a backend's address has no path: requests go there with the path that the \
      client asked for; leave out what stands behind HOST:PORT
      """),
    Mistake(
      "servers:\n  - weight: 2\n",
      """
      proxy.yaml:2: servers[0]: a backend without url; write url: http://HOST:PORT
      """),
    // Shapes.
    Mistake(
      "servers:\n  url: http://a:1\n",
      """
      proxy.yaml:2: loadBalance.backends: a list is wanted; begin each item with a dash: - url: http://…
      """),
    Mistake(
      "@cache: true\n",
      """
      proxy.yaml:2: cache: this is a section; write its keys below it, indented: enabled, maxSize, ttl
      """),
    Mistake(
      "@cache: {ttl: [1s]}\n",
      """
      proxy.yaml:2: cache.ttl: one value is wanted, and this is a list; allowed is 1s to 8760h, with its unit: \
      500ms, 30s, 5m, 1h30m
      """),
    Mistake(
      "- a\n",
      """
      proxy.yaml:1: the file has to hold sections, and this is a list; known are server, loadBalance, servers, \
      load_balancing, health, health_checks, retries, rateLimit, cache, admin, tracing
      """),
    // What a terminal would obey is written out.
    Mistake(
      "@server: {readTimeout: \"1s\\e[2J\"}\n",
      """
      proxy.yaml:2: server.readTimeout: "1s\\u001b[2J" is not allowed; allowed is 1ms to 24h, with its unit: 500ms, 30s, \
      5m, 1h30m
      """),
    Mistake(
      "servers: [{url: http://a:1, \"we\\bight\": 1}]\n",
      """
      proxy.yaml:1: servers[0]."we\\u0008ight" is not known; did you mean weight? known are url, weight
      """),
    Mistake(
      "@server: {accessLog: \"${A\\eB}\"}\n",
      """
      proxy.yaml:2: server.accessLog: "${A\\u001bB}" names no variable; a name holds letters, digits and _, and $$ \
      stands for a dollar
      """),
    // What fits not.
    Mistake(
      "server: {port: 80}\n",
      """
      no backend is named: write loadBalance.backends (or servers) into the settings file, set BACKEND_ADDRESS, \
      or give --backend URL
      """),
    Mistake(
      "servers: [a:1, http://a:1/]\n",
      """
      proxy.yaml:1: servers: http://a:1 is named twice; name it once, with a weight if it shall get more
      """),
    Mistake(
      "@health:\n  interval: 2s\n  timeout: 5s\n",
      """
      proxy.yaml:4: health.timeout: 5s is longer than health.interval, 2s: a check has to end before the next begins; lower \
      it, or raise the interval
      """),
    Mistake(
      "servers: [tcp://a:1]\ncache: {enabled: true}\n",
      """
      proxy.yaml:2: cache.enabled: a cache needs http:// backends; write cache.enabled: false, or leave the \
      section out
      """),
    Mistake(
      "servers: [tcp://a:1]\nloadBalance: {algorithm: sticky-cookie}\n",
      """
      proxy.yaml:2: loadBalance.algorithm: sticky-cookie needs http:// backends; write ip-hash, which keeps a client by \
      its address
      """),
    Mistake(
      "@admin: {address: example.com:9901}\n",
      """
      proxy.yaml:2: admin.address: "example.com:9901" is not allowed; allowed is IP:PORT (127.0.0.1:9901, [::1]:9901), \
      localhost:PORT, :PORT, or off
      """),
    // Not yet.
    Mistake(
      "@server:\n  tlsCertFile: cert.pem\n",
      """
      proxy.yaml:3: server.tlsCertFile: TLS is not there yet: leave the key out, and let a TLS proxy stand in \
      front
      """),
    Mistake(
      "servers: [\"https://a\"]\n",
      """
      proxy.yaml:1: servers[0]: https:// is not there yet: name the backend's plain port with http://, or let a \
      TLS proxy stand in between
      """),
    Mistake(
      "@tracing:\n  enabled: true\n",
      """
      proxy.yaml:3: tracing.enabled: tracing is not there yet: leave the section out, or write tracing.enabled: \
      false
      """),
    Mistake(
      "@tracing:\n  endpoint: http://t\n",
      """
      proxy.yaml:3: tracing.endpoint: tracing is not there yet: leave the section out, or write \
      tracing.enabled: false
      """),
  ]

  @Test(arguments: mistakes)
  func isOneSentenceWithFileLineAndKey(mistake: Mistake) throws {
    // An @ at the beginning stands for a backend.
    let text = mistake.text.hasPrefix("@") ? oneBackend + mistake.text.dropFirst() : mistake.text
    #expect(try SettingsWorld().said(text) == [mistake.said])
  }

  @Test func whatTheChainRefusesIsSaidInTheWordsOfTheSettings() throws {
    let world = try SettingsWorld()
    try world.write("\(oneBackend)server: {requestTimeout: 100ms}\n")
    let error = #expect(throws: SettingsProblems.self) {
      try CheckCommand(
        ParsedFlags(["--config", world.directory + "proxy.yaml"], declared: CheckCommand.flags),
        Environment(value: { _ in nil }), directory: world.directory)
    }
    let sentence = error?.sentences.first ?? ""
    #expect(sentence.hasPrefix("retries.max: ") && sentence.contains("0.1 seconds"), "\(sentence)")
    #expect(sentence.hasSuffix("; allow fewer retries, or more time with server.requestTimeout"))
  }

  @Test func everyMistakeIsSaidAtOnce() throws {
    let world = try SettingsWorld()
    try world.write("MAX_RETRIES=many\n", to: "config.env")
    world.environment["MAX_CONCURRENT_REQUESTS"] = "0"
    let said = world.said("servers:\n  - a\n  - b\nserver: {prot: 80}\n", "--grace", "1d")
    #expect(said.count == 6, "\(said)")
    #expect(said.contains("config.env:1: MAX_RETRIES: \"many\" is not allowed; allowed is a whole number, 0 to 9"))
    #expect(
      said.contains("MAX_CONCURRENT_REQUESTS: \"0\" is not allowed; allowed is a whole number, 1 to 1000000"))
    #expect(said.contains { $0.hasPrefix("--grace: \"1d\" is not allowed; allowed is 1ms to 24h") })
    #expect(said.contains { $0.hasPrefix("proxy.yaml:4: server.prot is not known; did you mean server.port?") })
  }

  @Test func aFileThatIsNotThereIsNotPassedOver() throws {
    let world = try SettingsWorld()
    let source = SettingsSource(
      try ParsedFlags(["--config", "/nonexistent/p.yaml"], declared: CheckCommand.flags),
      Environment(value: { _ in nil }),
      directory: world.directory)
    let error = #expect(throws: SettingsProblems.self) { try source.read() }
    #expect(
      error?.sentences
        == ["--config: there is no file /nonexistent/p.yaml; ExampleApp init /nonexistent/p.yaml writes one"])
  }

  @Test func whatIsAllowedAndMostLikelyNotMeantIsANote() throws {
    let world = try SettingsWorld()
    #expect(
      world.said("servers: [{url: a:1, weight: 2}, b:2]\n")
        == [
          "note: proxy.yaml:1: servers: round-robin does not look at weights; write loadBalance.algorithm: weighted-round-robin"
        ])
    try world.write("MAX_RETRYS=1\nOTHER=2\n", to: "config.env")
    world.environment = ["PROXY_ADRESS": "x", "PATH": "y"]
    #expect(
      world.said(oneBackend)
        == [
          "note: config.env:1: MAX_RETRYS is no setting; did you mean MAX_RETRIES?",
          "note: environment: PROXY_ADRESS is no setting; did you mean PROXY_ADDRESS?",
        ])
  }
}
