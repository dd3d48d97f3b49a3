import Middlewares
import Pipeline
import PipelineTesting
import Testing

/// Several requests on one HTTP connection, each with the same credentials.
struct KeptConnectionTests {
  private let verifier = CountingVerifier()
  /// `ann:secret`.
  private let good = "Basic YW5uOnNlY3JldA=="
  /// `ann:wrong`.
  private let bad = "Basic YW5uOndyb25n"

  private func connection(_ clock: ManualClock = ManualClock()) -> MockHTTPExchange {
    MockHTTPExchange(MockClient(), runtime: TestRuntime(clock: clock))
  }

  private func request(_ field: String, on connection: MockHTTPExchange, _ auth: PasswordAuth) async -> String {
    connection.recycle(id: connection.id + 1)
    connection.request.fields.set("authorization", field)
    do { return try await auth.authenticate(connection).principal.id } catch { return "\(error)" }
  }

  @Test func theSameFieldIsNeitherDecodedNorDigestedAgain() async throws {
    let auth = PasswordAuth(try .testing(verifier, "ann:secret"))
    let connection = connection()
    for _ in 0..<5 { #expect(await request(good, on: connection, auth) == "ann") }
    #expect(verifier.digests == 1)
    #expect(verifier.verifications == 1)
  }

  @Test func anotherFieldIsJudgedOnItsOwn() async throws {
    let auth = PasswordAuth(try .testing(verifier, "ann:secret"))
    let connection = connection()
    #expect(await request(good, on: connection, auth) == "ann")
    #expect(await request(bad, on: connection, auth).hasPrefix("credentialsInvalid"))
    #expect(await request(bad, on: connection, auth).hasPrefix("credentialsInvalid"))
    #expect(await request(good, on: connection, auth) == "ann")
    #expect(verifier.verifications == 3)
  }

  @Test func aUserWhoIsBlockedBetweenTwoRequestsIsRefused() async throws {
    let users = try UserTable.testing(verifier, "ann:secret")
    let auth = PasswordAuth(users)
    let connection = connection()
    #expect(await request(good, on: connection, auth) == "ann")
    users.block("ann")
    #expect(await request(good, on: connection, auth).hasPrefix("credentialsInvalid"))
  }

  @Test func theConnectionForgetsWhenTheTimeIsOver() async throws {
    let auth = PasswordAuth(try .testing(verifier, "ann:secret"), remembering: .seconds(60))
    let clock = ManualClock()
    let connection = connection(clock)
    #expect(await request(good, on: connection, auth) == "ann")
    clock.advance(by: .seconds(60))
    #expect(await request(good, on: connection, auth) == "ann")
    #expect(verifier.verifications == 2)
  }

  @Test func anotherTableKnowsNothingOfIt() async throws {
    let connection = connection()
    #expect(await request(good, on: connection, PasswordAuth(try .testing(verifier, "ann:secret"))) == "ann")
    let other = PasswordAuth(try .testing(verifier, "ann:other"))
    #expect(await request(good, on: connection, other).hasPrefix("credentialsInvalid"))
  }
}
