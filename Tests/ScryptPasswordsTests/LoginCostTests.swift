import CMallocCount
import Middlewares
import Pipeline
import PipelineTesting
import ScryptPasswords
import Testing

struct LoginCostTests {
  @Test(.enabled(if: malloc_is_counted() != 0)) func aRepeatedLoginAllocatesNothing() async throws {
    let scrypt = Scrypt(cost: ScryptCost(log2N: 4))
    let table = try UserTable(
      verifier: scrypt, [.init(name: "fierceRabbit", password: "secretThicket", roles: ["demo"], hashedBy: scrypt)])
    let auth = PasswordAuth(table)
    let exchange = MockHTTPExchange(MockClient(user: "fierceRabbit", password: "secretThicket"))
    for _ in 0..<10 { _ = try await auth.authenticate(exchange) }
    // The task may move to another thread, whose count is another one: several rounds, and one must be clean.
    var fewest = UInt.max
    for _ in 0..<10 {
      let before = malloc_count_of_this_thread()
      for _ in 0..<100 { _ = try await auth.authenticate(exchange) }
      fewest = min(fewest, malloc_count_of_this_thread() &- before)
    }
    // A task takes new memory for its frames now and then; a debug build boxes four things a login that an optimised one
    // keeps on the stack.
    #expect(fewest <= (isDebugBuild ? 400 : 1))
  }

  private var isDebugBuild: Bool {
    #if DEBUG
      true
    #else
      false
    #endif
  }

  @Test func digestsAllocateNothing() {
    let scrypt = Scrypt(cost: ScryptCost(log2N: 4))
    let user = Array("fierceRabbit".utf8)
    let password = [UInt8](repeating: 7, count: 255)
    let first = scrypt.digest(user: user, password: password)
    let before = malloc_count_of_this_thread()
    var isSame = true
    for _ in 0..<1000 where scrypt.digest(user: user, password: password) != first { isSame = false }
    #expect(malloc_count_of_this_thread() - before == 0)
    #expect(isSame)
  }
}
