// Package e2e holds the whole system on real parts: a Temporal server, an S3
// server, a catalog on SQLite or Postgres, and the daemon in this process. Its
// tests tell stories that cross every room; the folders below are the demo and
// the measurements, on the same stack.
package e2e

import (
	"context"
	"errors"
	"io"
	"path/filepath"

	"github.com/payload-manager/payload-manager/sdk"
	"github.com/payload-manager/payload-manager/worker"
	"github.com/payload-manager/payload-manager/worker/config"
	"github.com/payload-manager/payload-manager/worker/dev"
	"github.com/payload-manager/payload-manager/worker/vault"
)

// A Stack is a running system.
type Stack struct {
	Config  config.Config // as the daemon runs
	Servers *dev.Servers
	Worker  *worker.Worker // nil while the daemon is stopped
	Client  *sdk.Client
}

// Settings are a configuration in which everything lives in dir, and which logs
// problems only. There is no vault: a daemon inside another program cannot start
// that as one. Set Vault.Program to what [BuildDaemon] built, and Vault.Enabled,
// to have one.
func Settings(dir string) config.Config {
	c := config.Default()
	c.DataDir = dir
	c.Host.Name = "alpha"
	c.Tiers.RAM.Capacity = 4 << 30
	c.Log.Level = "warn"
	c.Vault.Enabled = false
	return c
}

// Start starts the servers that c leaves open, a daemon, and a client of it.
// What the servers print goes to log.
func Start(ctx context.Context, c config.Config, log io.Writer) (*Stack, error) {
	c, servers, err := dev.Start(ctx, c, dev.Options{Log: log})
	if err != nil {
		return nil, err
	}
	s := &Stack{Config: c.Resolve(), Servers: servers}
	if err := s.StartDaemon(ctx); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	if s.Client, err = sdk.Dial(ctx, s.Config.Listen.Socket); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

// StartDaemon starts the daemon again after StopDaemon.
func (s *Stack) StartDaemon(ctx context.Context) (err error) {
	s.Worker, err = worker.Start(ctx, s.Config)
	return err
}

// StopDaemon stops the daemon alone.
func (s *Stack) StopDaemon() error {
	if s.Worker == nil {
		return nil
	}
	w := s.Worker
	s.Worker = nil
	return w.Stop()
}

// Door is where the data door listens.
func (s *Stack) Door() string {
	return filepath.Join(filepath.Dir(s.Config.Listen.Socket), "door.sock")
}

// Stop ends everything, the vault too where the daemon started one.
func (s *Stack) Stop() error {
	var err error
	if s.Client != nil {
		err = s.Client.Close()
	}
	err = errors.Join(err, s.StopDaemon())
	if s.Config.Vault.Enabled && s.Config.Vault.Socket == "" {
		err = errors.Join(err, vault.End(context.Background(), s.Config.VaultSocket()))
	}
	s.Servers.Stop()
	return err
}
