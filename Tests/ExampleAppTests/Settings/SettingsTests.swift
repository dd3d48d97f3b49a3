import Glibc
import Middlewares
import Pipeline
import Testing

@testable import ExampleApp

@Suite struct SettingsTests {
  @Test func theShortShapeLoadsAsItIs() throws {
    let world = try SettingsWorld()
    try world.write(
      """
      servers:
        - url: http://localhost:8081
        - url: http://localhost:8082
      load_balancing:
        strategy: least_connections
      health_checks:
        interval: 10s
      """)
    let settings = try world.load()
    #expect(settings.backends.map { "\($0.address)" } == ["http://localhost:8081", "http://localhost:8082"])
    #expect(settings.algorithm == .leastConnections)
    #expect(settings.health?.interval == .seconds(10))
    #expect(settings.health?.timeout == .seconds(5))
    #expect(settings.health?.path == "/health")
    #expect(settings.notes == [])
  }

  @Test func theLongShapeLoadsAsItIs() throws {
    let world = try SettingsWorld()
    try world.write(
      """
      server:
        port: 8443
        readTimeout: 15s
        writeTimeout: 20s
        idleTimeout: 1m30s
        tlsCertFile: ""
        tlsKeyFile:
      cache:
        enabled: true
        maxSize: 500
        ttl: 10m
      rateLimit:
        enabled: true
        capacity: 50
        refillRate: 5
      loadBalance:
        algorithm: weighted-round-robin
        backends:
          - url: http://localhost:9001
            weight: 3
          - url: "http://localhost:9002"
            weight: 1
      health:
        enabled: true
        interval: 15s
        timeout: 2s
        path: /healthz
      tracing:
        enabled: false
        serviceName: gateway
        endpoint: http://localhost:14268/api/traces
      """)
    let settings = try world.load()
    #expect("\(settings.address)" == "0.0.0.0:8443")
    #expect(settings.readTimeout == .seconds(15) && settings.writeTimeout == .seconds(20))
    #expect(settings.idleTimeout == .seconds(90))
    #expect(settings.caching?.entries == 500 && settings.caching?.ttl == .seconds(600))
    #expect(settings.bucket?.rate == .perSecond(5, burst: 50))
    #expect(settings.algorithm == .weightedRoundRobin)
    #expect(settings.backends.map(\.weight) == [3, 1])
    #expect(settings.health?.interval == .seconds(15) && settings.health?.path == "/healthz")
    #expect(settings.notes == [])
  }

  @Test func aFileMayBeJSON() throws {
    let world = try SettingsWorld()
    try world.write(
      """
      {
      \t"server": {"port": 8081, "readTimeout": "15s"},
      \t"servers": [{"url": "http://a:1", "weight": 2}, {"url": "b:2"}],
      \t"load_balancing": {"strategy": "ip_hash"}
      }
      """)
    let settings = try world.load()
    #expect("\(settings.address)" == "0.0.0.0:8081" && settings.readTimeout == .seconds(15))
    #expect(settings.backends.map { "\($0.address)" } == ["http://a:1", "http://b:2"])
    #expect(settings.backends.map(\.weight) == [2, 1] && settings.algorithm == .ipHash)
  }

  @Test func aSecretIsShownNowhere() throws {
    let world = try SettingsWorld()
    world.environment = ["COOKIE": "hunter2"]
    func values(_ secret: String) throws -> SettingValues {
      try world.write("\(oneBackend)loadBalance: {algorithm: sticky_cookie, cookieSecret: \"\(secret)\"}\n")
      return try world.source().read()
    }
    for secret in ["hunter2", "${COOKIE}"] {
      let values = try values(secret)
      #expect(try ProxySettings(values).cookieSecret?.reveal() == "hunter2")
      #expect(values.shown(ProxySetting.cookieSecret) == "(secret)")
    }
    let long = String(repeating: "hunter2", count: 40)
    #expect(
      world.said("\(oneBackend)loadBalance: {algorithm: sticky-cookie, cookieSecret: \(long)}\n")
        == ["proxy.yaml:2: loadBalance.cookieSecret: it has to have 1 to 256 bytes"])
    #expect(ProxySetting.cookieSecret.flag == nil)
  }

  @Test(arguments: [
    ("round_robin", Balancing.roundRobin), ("least_connections", .leastConnections), ("ip_hash", .ipHash),
    ("weighted_round_robin", .weightedRoundRobin), ("round-robin", .roundRobin),
    ("least-connections", .leastConnections), ("weighted-round-robin", .weightedRoundRobin), ("ip-hash", .ipHash),
  ])
  func everyAlgorithmIsKnownInBothSpellings(word: String, algorithm: Balancing) throws {
    let world = try SettingsWorld()
    try world.write("\(oneBackend)load_balancing: {strategy: \(word)}\n")
    #expect(try world.load().algorithm == algorithm)
  }

  @Test func theDefaultsAreTheOnesThatAreDocumented() throws {
    let settings = try SettingsWorld().load(
      "--backend", "localhost:9001", "--cache", "true", "--rate-limit", "true", "--health", "true")
    #expect(settings.readTimeout == .seconds(30) && settings.writeTimeout == .seconds(30))
    #expect(settings.idleTimeout == .seconds(60))
    #expect(settings.caching?.entries == 1000 && settings.caching?.ttl == .seconds(300))
    #expect(settings.bucket?.rate == .perSecond(10, burst: 100))
    #expect(settings.health?.interval == .seconds(30) && settings.health?.timeout == .seconds(5))
    #expect(settings.health?.path == "/health")
    #expect(settings.grace == .seconds(30))
    #expect("\(settings.backends[0].address)" == "http://localhost:9001")
  }

  @Test func whatIsNamedLaterWins() throws {
    let world = try SettingsWorld()
    func retries(_ flags: String...) throws -> (Int, String) {
      let values = try world.source(flags + ["--backend", "a:1"]).read()
      return (try ProxySettings(values).maxRetries, world.mended(values.origin(of: ProxySetting.maxRetries).shown))
    }
    #expect(try retries() == (2, "default"))
    try world.write("retries:\n  max: 3\n")
    #expect(try retries() == (3, "proxy.yaml:2 retries.max"))
    try world.write("# of this machine\nMAX_RETRIES=4\n", to: "config.env")
    #expect(try retries() == (4, "config.env:2 MAX_RETRIES"))
    world.environment["MAX_RETRIES"] = "5"
    #expect(try retries() == (5, "environment MAX_RETRIES"))
    #expect(try retries("--max-retries", "6") == (6, "--max-retries"))
    // An empty variable is none.
    world.environment["MAX_RETRIES"] = ""
    #expect(try retries() == (4, "config.env:2 MAX_RETRIES"))
  }

  @Test func theFourNamesOfConfigEnvRunAProxyByThemselves() throws {
    let world = try SettingsWorld()
    try world.write(
      """
      PROXY_ADDRESS=localhost:8888
      BACKEND_ADDRESS=127.0.0.1:9001, tcp://127.0.0.1:9002=2
      MAX_CONCURRENT_REQUESTS=7
      MAX_RETRIES=0
      """, to: "config.env")
    #expect(
      world.said()
        == [
          "config.env:2: BACKEND_ADDRESS: http://127.0.0.1:9001 and tcp://127.0.0.1:9002 do not go together: one proxy serves "
            + "http:// or tcp:// backends; run a second one for the others"
        ])
    world.environment["BACKEND_ADDRESS"] = "http://127.0.0.1:9001"
    let settings = try world.load()
    #expect("\(settings.address)" == "127.0.0.1:8888")
    #expect(settings.maxConcurrentRequests == 7 && settings.maxRetries == 0)
    #expect(settings.backends.count == 1)
  }

  @Test func aSectionWithAKeyIsSwitchedOn() throws {
    let world = try SettingsWorld()
    try world.write("\(oneBackend)cache: {ttl: 1m}\nrateLimit: {enabled: false, capacity: 5}\n")
    let values = try world.source().read()
    let settings = try ProxySettings(values)
    #expect(settings.caching != nil && settings.bucket == nil && settings.health == nil)
    #expect(values.origin(of: ProxySetting.cacheEnabled).shown == "because cache.ttl is given")
  }

  @Test func variablesOfTheFileAreReplaced() throws {
    let world = try SettingsWorld()
    world.environment = ["PORT": "9999"]
    try world.write("server:\n  port: ${PORT}\nservers:\n  - url: http://${HOST:-10.0.0.1}:80\n")
    let settings = try world.load()
    #expect("\(settings.address)" == "0.0.0.0:9999" && "\(settings.backends[0].address)" == "http://10.0.0.1:80")
  }

  @Test func theTimeOfACheckIsNotLongerThanTheInterval() throws {
    for section in ["health", "health_checks"] {
      let world = try SettingsWorld()
      try world.write("\(oneBackend)\(section): {interval: 2s}\n")
      let settings = try world.load()
      #expect(settings.health?.interval == .seconds(2) && settings.health?.timeout == .seconds(2))
      let row = settings.values.table.first { $0[0] == "health.timeout" }
      #expect(row == ["health.timeout", "2s", "because health.interval is given"])
      // A longer one leaves the default as it is.
      let slow = try world.load("--health-interval", "1m")
      #expect(slow.health?.timeout == .seconds(5))
      #expect(slow.values.origin(of: ProxySetting.healthTimeout) == .standard)
      // What is written is what counts, and is refused where it does not fit.
      #expect(try world.load("--health-timeout", "1s").health?.timeout == .seconds(1))
      #expect(
        world.said(nil, "--health-timeout", "3s") == [
          "--health-timeout: 3s is longer than health.interval, 2s: a check has to end before the next begins; lower "
            + "it, or raise the interval"
        ])
    }
  }

  @Test func checkShowsEachValueWithItsOriginAndNoSecret() throws {
    let world = try SettingsWorld()
    world.environment = ["HEALTH_TOKEN": "hunter2", "PORT": "8081"]
    try world.write(
      "server: {port: \"${PORT}\"}\n\(oneBackend)health:\n  path: /health?token=${HEALTH_TOKEN}\n")
    let names = world.environment
    let check = try CheckCommand(
      ParsedFlags(["-config", world.directory + "proxy.yaml", "--chain"], declared: CheckCommand.flags),
      Environment(value: { names[$0] }), directory: world.directory)
    let report = world.mended(check.report)
    #expect(!report.contains("hunter2"))
    func row(_ name: String) -> [Substring] {
      report.split(separator: "\n").first { $0.hasPrefix(name + " ") }?.split(separator: " ") ?? []
    }
    #expect(row("server.address") == ["server.address", "0.0.0.0:8081", "proxy.yaml:1", "server.port"])
    #expect(row("health.path") == ["health.path", "/health?token=${HEALTH_TOKEN}", "proxy.yaml:4", "health.path"])
    #expect(row("server.grace") == ["server.grace", "30s", "default"])
    #expect(row("server.requestTimeout").suffix(3) == ["no", "limit", "default"])
    for setting in ProxySetting.all { #expect(!row(setting.key).isEmpty, "\(setting.key)") }
    #expect(report.contains("proxy: http on 0.0.0.0:8081") && report.hasSuffix("The settings are good."))
  }

  @Test func aWrongValueFromAVariableIsShownAsItIsWritten() throws {
    let world = try SettingsWorld()
    world.environment = ["PORT": "hunter2"]
    #expect(
      world.said("\(oneBackend)server:\n  port: ${PORT}\n")
        == ["proxy.yaml:3: server.port: \"${PORT}\" is not allowed; allowed is a port, 1 to 65535"])
    // Nor in an advice.
    #expect(
      world.said("servers: [\"http://${PORT} x/y\"]\n")
        == [
          "proxy.yaml:1: servers[0]: a backend's address has no path: requests go there with the path that the client "
            + "asked for; leave out what stands behind HOST:PORT"
        ])
    for url in ["http://ann:hunter2@10.0.0.1:80", "ftp://ann:hunter2@a", "ann:hunter2@a:1", "https://ann:hunter2@a/b"] {
      #expect(
        world.said("servers:\n  - url: \(url)\n")
          == [
            "proxy.yaml:2: servers[0].url: a backend's address holds no user and no password; leave out what stands before the @"
          ])
    }
  }

  @Test func aListenerOfASettingsFileIsOneOfThreeKinds() throws {
    let world = try SettingsWorld()
    func address(_ text: String) -> String {
      do {
        try world.write("\(oneBackend)server: {address: \"\(text)\"}\n")
        return "\(try world.load().address)"
      } catch {
        return "\(error)"
      }
    }
    #expect(address("[::1]:80") == "[::1]:80")
    #expect(address("unix:/run/x.sock") == "unix:/run/x.sock")
    #expect(
      address("example.com:80").contains("\"example.com:80\" is not allowed; allowed is :PORT for every IPv4 address"))
  }

  @Test(arguments: [
    ("10", "10"), ("0.5", "0.5"), ("2.050", "2.05"), ("0.001", "0.001"), ("1000000", "1000000"),
  ])
  func ratesHaveThreeDigits(text: String, shown: String) throws {
    #expect(TokenRate(text)?.description == shown)
    for wrong in ["", "0", "0.0", "-1", "1.", ".5", "1.0005", "1000001", "1e3", "ten"] {
      #expect(TokenRate(wrong) == nil)
    }
  }

  @Test(arguments: [
    ("30s", 30_000), ("1h30m", 5_400_000), ("1m30s500ms", 90_500), ("250ms", 250),
  ])
  func timesAreReadAsTheyAreWritten(text: String, milliseconds: Int) {
    #expect(readTime(text) == .milliseconds(milliseconds))
    #expect(written(.milliseconds(milliseconds)) == text)
    for wrong in ["", "30", "s", "30s1m", "1s1s", "-1s", "1.5s", "1d", "99999999999999999999s", "9999999999999999h"] {
      #expect(readTime(wrong) == nil)
    }
  }
}
