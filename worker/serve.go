package worker

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"

	"github.com/payload-manager/payload-manager/catalog"
	"github.com/payload-manager/payload-manager/sdk/payload"
	"github.com/payload-manager/payload-manager/tiers/placement"
	"github.com/payload-manager/payload-manager/worker/config"
	"github.com/payload-manager/payload-manager/worker/door"
	"github.com/payload-manager/payload-manager/worker/facade"
	"github.com/payload-manager/payload-manager/worker/relay"
)

// serve opens the data door and the façade.
func (w *Worker) serve(_ context.Context, c config.Config, payloads *catalog.Catalog, host *placement.Host, b *bridge) error {
	if err := os.MkdirAll(filepath.Dir(c.Listen.Socket), 0o700); err != nil {
		return err
	}
	if err := w.openDoor(c, host); err != nil {
		return err
	}
	server := facade.NewServer(facade.Options{
		Host: host, Catalog: payloads, Mover: b, Lag: b.Lag, WorkflowID: relay.WorkflowID,
		TemporalUI: c.Temporal.UI, Log: w.log,
	})
	listeners, err := w.listen(c.Listen)
	if err != nil {
		return err
	}
	var serving errgroup.Group
	for _, l := range listeners {
		serving.Go(func() error { return server.Serve(l) })
	}
	w.onStop("façade", func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, w.grace/2) // the other half is for the rest
		defer cancel()
		server.Shutdown(ctx)
		return serving.Wait()
	})
	return nil
}

func (w *Worker) openDoor(c config.Config, host *placement.Host) error {
	door, err := door.Listen(filepath.Join(filepath.Dir(c.Listen.Socket), "door.sock"), host, w.log)
	if err != nil {
		return err
	}
	w.onStop("data door", func(context.Context) error { return door.Close() })
	return nil
}

// listen opens the façade's addresses. A socket that a daemon left behind when
// it died is taken over: the lock on the data directory says that it is dead.
func (w *Worker) listen(c config.Listen) ([]net.Listener, error) {
	if err := os.Remove(c.Socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	local, err := net.Listen("unix", c.Socket)
	if err != nil {
		return nil, payload.Errorf(payload.Unavailable, "the façade cannot listen on listen.socket: %w", err)
	}
	if err := os.Chmod(c.Socket, 0o600); err != nil {
		return nil, errors.Join(err, local.Close())
	}
	if c.TCP == "" {
		return []net.Listener{local}, nil
	}
	remote, err := net.Listen("tcp", c.TCP)
	if err != nil {
		return nil, errors.Join(payload.Errorf(payload.Unavailable, "the façade cannot listen on listen.tcp: %w", err), local.Close())
	}
	w.TCP = remote.Addr().String()
	return []net.Listener{local, remote}, nil
}

// announce tells the other hosts of the catalog that this one is here.
func (w *Worker) announce(ctx context.Context, c config.Config, payloads *catalog.Catalog) error {
	return payloads.Announce(ctx, catalog.Host{Name: c.Host.Name, Address: w.TCP, Version: Version, BootID: bootID()})
}

// bootID tells one start of the machine from another.
func bootID() string {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return string(id[:min(len(id), 36)])
}
