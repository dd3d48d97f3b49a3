import CompilerChecks
import Testing

/// Every sentence that the chain's builders were given, as the compiler prints it: where, and in which words.
struct DiagnosticsTests {
  private static let checks = CompilerChecks(prelude: prelude)
  private static let ofTypes = Result { try checks.errors(of: mistakes) }
  private static let ofRegions = Result { try checks.errors(of: regionMistakes) }
  private static let ofRightPrograms = Result { try checks.errors(of: rightPrograms) }

  @Test(arguments: mistakes)
  func aWrongChainIsRefusedInOneSentence(_ mistake: Mistake) throws {
    let found = try Self.ofTypes.get()[mistake.name] ?? []
    #expect(found == mistake.errors)
  }

  @Test(arguments: regionMistakes)
  func anExchangeCannotBeShared(_ mistake: Mistake) throws {
    let found = try Self.ofRegions.get()[mistake.name] ?? []
    #expect(found == mistake.errors)
  }

  @Test func rightProgramsCompile() throws {
    let found = try Self.ofRightPrograms.get()
    #expect(found == [:])
  }
}
