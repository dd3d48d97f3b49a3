import Pipeline

/// Believes every client that sends a user name, whatever its password.
struct NamedByClient: Authenticator {
  var uses: Uses { .password }

  func authenticate(_ exchange: PasswordExchange) async throws -> Principal {
    guard let credentials = try await exchange.credentials() else { throw Rejection(.credentialsRequired) }
    return Principal(String(decoding: credentials.user, as: UTF8.self))
  }
}
