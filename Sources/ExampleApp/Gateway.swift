import JWTAuthentication
import Middlewares
import Pipeline
import Transports

/// The whole system, assembled: this is the page to read, and to copy from.
///
/// SOCKS5 and an HTTP forward proxy for named users, an HTTP reverse proxy with routes to one origin, and raw TCP to one
/// upstream. All share the counts of usage; each has its own log line, limits and rules.
struct Gateway {
  /// Where each listens: usually the same port on 127.0.0.1 and on ::1.
  var socks5: [SocketAddress]
  var tcp: [SocketAddress]
  var reverse: [SocketAddress] = []
  var forward: [SocketAddress] = []
  /// Where raw TCP goes.
  var upstream: String
  /// Where the HTTP reverse proxy goes.
  var origin = ""
  /// Who may use SOCKS5 and the forward proxy, and see what is protected.
  var users: UserTable
  /// Opaque tokens for `/token`, and whose signed ones are taken on `/jwt`; without them these routes are not there.
  var tokens: TokenTable?
  var issuer: JWTKeySource?
  /// What users have used and may use, and where that lasts.
  var accounting: Accounting
  var log: any LogSink
  var settings: ServiceSettings
  var http: HTTPSettings

  @ProxyBuilder var body: some Proxy {
    let metrics = Metrics()
    let edge = Chain {
      metrics
      if let format = settings.log.format { AccessLog(format, to: log) }
      UsageTracking(accounting.usage)
      TokenBucket(.perSecond(100, burst: 200), per: .clientAddress)
    }

    let login = PasswordAuth(users)
    let quotas = Chain(for: .passwords) {
      for rule in accounting.limits.rules {
        UsageQuota(
          rule.quota, per: .identity, plans: rule.plans, onExhausted: accounting.limits.exhaustion,
          in: accounting.quotas)
      }
    }
    let eachUser = Chain(for: .passwords) {
      quotas
      TokenBucket(.perSecond(50, burst: 100), per: .identity)
      ConcurrencyLimit(100, per: .identity, queue: 50)
    }
    for address in socks5 {
      Listener(.socks5, on: address.description) {
        edge
        login
        eachUser
        DestinationRules(.deny(ports: 25...25))  // a proxy is no way to send mail unseen
        Retry(attempts: 3)
      } to: {
        Direct()
      }.options(settings.apply)
    }

    for address in forward {
      Listener(.http, on: address.description, name: "forward") {
        edge
        login
        eachUser
        DestinationRules(.deny(ports: 25...25))
        Retry(attempts: 3)
      } to: {
        Direct()
      }.options(settings.apply).options(http.apply)
    }

    let pages = ResponseCache(defaultTTL: .seconds(10))
    for address in reverse {
      Listener(.http, on: address.description, name: "reverse") {
        edge
        RequestID()
        Retry(attempts: 3)
      } to: {
        Route("/cached") {
          pages
        } to: {
          Upstream(origin)
        }
        Route("/limited") {
          TokenBucket(.perMinute(6, burst: 3), per: .clientAddress, headers: .always(policy: "demo"))
        } to: {
          Upstream(origin)
        }
        Route("/quota") {
          BasicAuth(users, realm: "quota")
          UsageQuota(
            .requests(5, per: .minute, name: "demo"), per: .identity, headers: .always(policy: "demo"),
            in: accounting.quotas)
        } to: {
          Upstream(origin)
        }
        Route("/protected") {
          BasicAuth(users, realm: "protected")
          quotas
        } to: {
          Upstream(origin)
        }
        if let tokens, let issuer {
          Route("/token") {
            BearerAuth(tokens, realm: "token")
            quotas
          } to: {
            Upstream(origin)
          }
          Route("/jwt") {
            JWTAuth(issuer, JWTRequirements(audiences: ["sluice-demo"]), realm: "jwt")
            quotas
          } to: {
            Route("/jwt/write") {
              Authorize(scopes: ["write"]) { (user: JWTUser) in user.scopes }
            } to: {
              Upstream(origin)
            }
            Upstream(origin)
          }
        }
        Upstream(origin)
      }.options(settings.apply).options(http.apply)
    }

    let slots = ConcurrencyLimit(1000, queue: 100)
    for address in tcp {
      Listener(.tcp, on: address.description) {
        edge
        slots
        Retry(attempts: 3)
      } to: {
        Upstream(upstream)
      }.options(settings.apply)
    }
  }
}
