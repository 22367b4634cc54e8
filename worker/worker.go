package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/payload-manager/payload-manager/catalog"
	"github.com/payload-manager/payload-manager/catalog/leases"
	"github.com/payload-manager/payload-manager/tiers/placement"
	"github.com/payload-manager/payload-manager/worker/config"
)

// Version is the daemon's version, as it announces itself.
const Version = "0.1.0"

// Run is the daemon: it starts everything, serves until ctx ends, and stops
// everything in reverse order. Its error is what kept it from starting, or what
// failed while it stopped.
func Run(ctx context.Context, c config.Config) error {
	w, err := Start(ctx, c)
	if err != nil {
		return err
	}
	<-ctx.Done()
	return w.Stop()
}

// A Worker is a running daemon.
type Worker struct {
	// Socket is where the façade listens; the data door is beside it.
	Socket string
	// TCP is the façade's second address, empty where there is none.
	TCP string

	log      *slog.Logger
	grace    time.Duration
	volatile *volatile // nil where ram has no vault
	stops    []stop    // in the order of start

	ballast []byte // see ballastSize
}

type stop struct {
	what string
	do   func(ctx context.Context) error
}

// Start starts the daemon and returns when it serves. What had started when a
// later part failed is stopped again.
func Start(ctx context.Context, c config.Config) (*Worker, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	c = c.Resolve()
	w := &Worker{Socket: c.Listen.Socket, log: newLogger(c.Log), grace: c.ShutdownGrace, ballast: make([]byte, ballastSize)}
	if err := w.start(ctx, c); err != nil {
		return nil, errors.Join(err, w.Stop())
	}
	w.log.Info("serving", "socket", w.Socket, "tcp", w.TCP, "host", c.Host.Name)
	return w, nil
}

func (w *Worker) start(ctx context.Context, c config.Config) error {
	raiseDescriptorLimit(w.log)
	key, err := w.ownDirectory(c.DataDir)
	if err != nil {
		return err
	}
	store, err := w.openStore(ctx, c)
	if err != nil {
		return err
	}
	set, err := w.openTiers(ctx, c, key)
	if err != nil {
		return err
	}
	journal := leases.Journal{Path: filepath.Join(c.DataDir, "leases.journal"), BootID: bootID()}
	table, err := leases.Open(journal, leases.Boottime)
	if err != nil {
		return err
	}
	w.onStop("leases", func(context.Context) error { table.Stop(); return nil })

	payloads := catalog.New(store, time.Now)
	host := placement.New(placement.Options{
		Name: c.Host.Name, Catalog: payloads, Leases: table, Tiers: set, Key: key, Log: w.log,
	})
	w.onStop("placement", func(context.Context) error { return host.Close() })
	if err := host.Start(ctx); err != nil {
		return err
	}
	w.watchMemory(host)
	bridge, err := w.bridgeToTemporal(c, payloads, host)
	if err != nil {
		return err
	}
	if err := w.serve(ctx, c, payloads, host, bridge); err != nil {
		return err
	}
	return w.announce(ctx, c, payloads)
}

func (w *Worker) onStop(what string, do func(context.Context) error) {
	w.stops = append(w.stops, stop{what, do})
}

// Stop stops every part in reverse order of start, within the configured grace
// altogether, and says which of them failed. It is called once.
func (w *Worker) Stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), w.grace)
	defer cancel()
	var errs []error
	for i := len(w.stops) - 1; i >= 0; i-- {
		w.log.Debug("stopping", "part", w.stops[i].what)
		if err := w.stops[i].do(ctx); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", w.stops[i].what, err))
		}
	}
	w.stops = nil
	return errors.Join(errs...)
}
