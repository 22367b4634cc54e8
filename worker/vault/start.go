package vault

import (
	"bufio"
	"os"
	"os/exec"
	"syscall"

	"github.com/payload-manager/payload-manager/sdk/payload"
)

// ready is the one line that a vault process prints.
const ready = "ready\n"

// Itself is the program that runs now, also after its file was replaced.
const Itself = "/proc/self/exe"

// Start starts program, a payload-manager, as a vault process that listens at
// socket, and returns once it answers there. The vault has a session of its own,
// so that neither a signal to the caller's process group nor the caller's end
// reaches it; a supervisor that kills a whole control group does. It appends to
// log, because the caller's own output may end with the caller.
func Start(program, socket, log string) error {
	file, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return payload.Errorf(payload.Unavailable, "the vault's log cannot be opened: %w", reason(err))
	}
	defer file.Close()
	cmd := exec.Command(program, "vault", "--socket", socket)
	cmd.Args[0] = "payload-manager" // for who lists processes
	cmd.Stderr = file
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return payload.Errorf(payload.Unavailable, "the vault cannot be started: %w", reason(err))
	}
	if err := cmd.Start(); err != nil {
		return payload.Errorf(payload.Unavailable, "the vault cannot be started: %w", reason(err))
	}
	line, _ := bufio.NewReader(out).ReadString('\n') // what else it may be is judged below
	go func() { _ = cmd.Wait() }()                   // how it ends is told by its connection
	if line != ready {
		return payload.Errorf(payload.Unavailable, "the vault did not start: vault.log in data_dir says why")
	}
	return nil
}
