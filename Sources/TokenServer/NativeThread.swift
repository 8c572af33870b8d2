import CLinux
import Glibc

/// A named thread that runs `body` to its end. Detached: nobody may have to wait for one that is stuck in the kernel.
public func startThread(name: String, _ body: @escaping @Sendable () -> Void) {
    final class Box {
        let name: String
        let body: @Sendable () -> Void
        init(name: String, body: @escaping @Sendable () -> Void) {
            self.name = name
            self.body = body
        }
    }
    var thread = pthread_t()
    let box = Unmanaged.passRetained(Box(name: name, body: body))
    let result = pthread_create(
        &thread, nil,
        { argument in
            guard let argument else { return nil }
            let box = Unmanaged<Box>.fromOpaque(argument).takeRetainedValue()
            linux_name_thread(box.name)
            box.body()
            return nil
        }, box.toOpaque())
    precondition(result == 0, "the system refuses a thread: raise TasksMax= or the user's process limit")
    pthread_detach(thread)
}
