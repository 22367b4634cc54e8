// Package dev starts, on this machine, the third-party servers that a
// configuration leaves open: a Temporal with its UI, and an S3 server. It makes
// `make run`, the demo and the end-to-end tests one and the same thing.
//
// What a user gave is left alone: a Temporal address, in the configuration or
// in TEMPORAL_ADDRESS, and an object endpoint. What is started here keeps its
// data in the data directory and ends with Stop, or with this process, however
// that ends.
package dev

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"github.com/payload-manager/payload-manager/deploy/servers"
	"github.com/payload-manager/payload-manager/worker/config"
)

// Options say how the servers run.
type Options struct {
	Log       io.Writer // what the servers print; nil: nowhere
	Supervise bool      // start a server again when it crashes
	Usual     bool      // take Temporal's usual ports where they are free
}

// Servers are the servers that were started; those that were not are nil.
type Servers struct {
	Temporal *servers.Temporal
	S3       *servers.S3
}

// Start starts what c leaves open, and returns c with the addresses filled in.
func Start(ctx context.Context, c config.Config, o Options) (config.Config, *Servers, error) {
	s := &Servers{}
	if err := s.startTemporal(ctx, &c, o); err != nil {
		return c, nil, err
	}
	if err := s.startS3(ctx, &c, o); err != nil {
		s.Stop()
		return c, nil, err
	}
	return c, s, nil
}

// Stop ends the servers that were started.
func (s *Servers) Stop() {
	if s.S3 != nil {
		s.S3.Stop()
	}
	if s.Temporal != nil {
		s.Temporal.Stop()
	}
}

// The ports on which people expect a Temporal and its UI.
const (
	usualPort   = 7233
	usualUIPort = 8233
)

func (s *Servers) startTemporal(ctx context.Context, c *config.Config, o Options) error {
	if c.Temporal.Address != "" || c.Temporal.Profile != "" || os.Getenv("TEMPORAL_ADDRESS") != "" {
		return nil
	}
	dir, err := folder(c.DataDir, "temporal")
	if err != nil {
		return err
	}
	options := servers.TemporalOptions{Dir: dir, Log: o.Log, Supervise: o.Supervise}
	if o.Usual {
		options.Port, options.UIPort = ifFree(usualPort), ifFree(usualUIPort)
	}
	if s.Temporal, err = servers.StartTemporal(ctx, options); err != nil {
		return err
	}
	c.Temporal.Address, c.Temporal.UI = s.Temporal.Address, s.Temporal.UI
	return nil
}

func (s *Servers) startS3(ctx context.Context, c *config.Config, o Options) error {
	if c.Tiers.Object.Enabled {
		return nil
	}
	dir, err := folder(c.DataDir, "s3")
	if err != nil {
		return err
	}
	if s.S3, err = servers.StartS3(ctx, servers.S3Options{Dir: dir, Log: o.Log, Supervise: o.Supervise}); err != nil {
		return err
	}
	c.Tiers.Object.Enabled = true
	c.Tiers.Object.Endpoint = s.S3.Endpoint
	c.Tiers.Object.AccessKey, c.Tiers.Object.SecretKey = s.S3.AccessKey, s.S3.SecretKey
	return nil
}

func folder(dataDir, name string) (string, error) {
	dir := filepath.Join(dataDir, name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("a folder for %s: %w", name, err)
	}
	return filepath.Abs(dir)
}

// ifFree returns the port, or 0, which means any, when somebody listens there.
func ifFree(port int) int {
	listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return 0
	}
	_ = listener.Close() // it accepted nothing
	return port
}
