@main
struct ExampleApp {
  static func main() {}
}
