package worker

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/payload-manager/payload-manager/worker/config"
	"github.com/payload-manager/payload-manager/worker/dev"
	"github.com/payload-manager/payload-manager/worker/vault"
)

// Develop is Run with everything that it stands on: a Temporal with its UI and
// an S3 server are started where c names none, told of on out, and stopped
// again in the end.
func Develop(ctx context.Context, c config.Config, out io.Writer) error {
	log, err := serverLog(c.DataDir)
	if err != nil {
		return err
	}
	defer log.Close()
	fmt.Fprintln(out, "starting Temporal and an S3 server; a first start takes some seconds")
	c, servers, err := dev.Start(ctx, c, dev.Options{Log: log, Supervise: true, Usual: true})
	if err != nil {
		return err
	}
	defer servers.Stop()
	defer endVault(c)
	w, err := Start(ctx, c)
	if err != nil {
		return err
	}
	tell(out, c, w, log.Name())
	<-ctx.Done()
	fmt.Fprintln(out, "\nstopping")
	return w.Stop()
}

// endVault ends the vault that the daemon started, so that Ctrl-C leaves nothing
// running. A daemon that was killed leaves it, and the next finds it.
func endVault(c config.Config) {
	if !c.Vault.Enabled || c.Vault.Socket != "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), c.ShutdownGrace)
	defer cancel()
	if err := vault.End(ctx, c.VaultSocket()); err != nil {
		fmt.Fprintln(os.Stderr, "the vault is still running:", err)
	}
}

// serverLog is where third-party servers print: people who type the next
// command want to see our words alone.
func serverLog(dataDir string) (*os.File, error) {
	if err := os.MkdirAll(dataDir, 0o700); err != nil {
		return nil, err
	}
	return os.OpenFile(filepath.Join(dataDir, "servers.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
}

// tell prints the addresses and the next thing to type.
func tell(out io.Writer, c config.Config, w *Worker, log string) {
	object := c.Tiers.Object.Endpoint
	fmt.Fprintf(out, `
  Payload Manager   %s
  Temporal          %s
  Temporal UI       %s
  S3                http://%s (bucket %s)
  catalog           %s
  servers' log      %s

next, in another terminal:

  go build -o bin/payloadctl ./sdk/payloadctl
  export PAYLOAD_ADDRESS=%s
  bin/payloadctl put README.md
  bin/payloadctl ls

Ctrl-C stops everything.
`, w.Socket, c.Temporal.Address, c.Temporal.UI, object, c.Tiers.Object.Bucket, c.Catalog.URL, log, absolute(w.Socket))
}

func absolute(path string) string {
	full, err := filepath.Abs(path)
	if err != nil {
		return path
	}
	return full
}
