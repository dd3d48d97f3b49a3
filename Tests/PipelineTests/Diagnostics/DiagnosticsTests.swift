import CompilerChecks
import Testing

/// Every sentence that the chain's builders were given, as the compiler prints it: where, and in which words.
struct DiagnosticsTests {
  private static let checks = CompilerChecks(prelude: prelude)
  private static let ofTypes = Task { try await checks.errors(of: mistakes) }
  private static let ofRegions = Task { try await checks.errors(of: regionMistakes) }
  private static let ofRightPrograms = Task { try await checks.errors(of: rightPrograms) }

  @Test(arguments: mistakes)
  func aWrongChainIsRefusedInOneSentence(_ mistake: Mistake) async throws {
    let found = try await Self.ofTypes.value[mistake.name] ?? []
    #expect(found == mistake.errors)
  }

  @Test(arguments: regionMistakes)
  func anExchangeCannotBeShared(_ mistake: Mistake) async throws {
    let found = try await Self.ofRegions.value[mistake.name] ?? []
    #expect(found == mistake.errors)
  }

  @Test func rightProgramsCompile() async throws {
    let found = try await Self.ofRightPrograms.value
    #expect(found == [:])
  }
}
