import Middlewares
import Pipeline

/// One client that tries to log in.
struct Login: Sendable {
  var credentials: PasswordCredentials?
  var client = ClientAddress(.ip(IPAddress("192.0.2.1")!, port: 50_000))
  var control = LoginControl()

  init(_ user: String, _ password: String, ip: String = "192.0.2.1") {
    self.init(Array(user.utf8), Array(password.utf8), ip: ip)
  }

  init(_ user: [UInt8], _ password: [UInt8], ip: String = "192.0.2.1") {
    credentials = PasswordCredentials(user: user, password: password)
    client = ClientAddress(.ip(IPAddress(ip)!, port: 50_000))
  }

  /// What came of it: the name, or why not.
  func run(_ auth: PasswordAuth, in world: LoginWorld) async -> LoginResult {
    do {
      let exchange = LoginExchange(world, credentials, from: client, control: control)
      return .passed(try await auth.authenticate(exchange).principal.id)
    } catch let rejection as Rejection {
      return .refused(rejection.kind, rejection.retryAfter, rejection.description)
    } catch {
      return .broken("\(error)")
    }
  }
}

enum LoginResult: Sendable, Equatable {
  case passed(String)
  case refused(Rejection.Kind, Duration?, String)
  case broken(String)

  var kind: Rejection.Kind? {
    if case .refused(let kind, _, _) = self { kind } else { nil }
  }

  var retryAfter: Duration? {
    if case .refused(_, let retryAfter, _) = self { retryAfter } else { nil }
  }

  var text: String {
    if case .refused(_, _, let text) = self { text } else { "" }
  }
}
