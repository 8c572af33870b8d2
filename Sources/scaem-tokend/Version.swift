/// The program's version; README, CHANGELOG and the package agree with it (a test holds them to it).
let programVersion = "0.1.0"
