package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"

	"github.com/payload-manager/payload-manager/e2e"
	"github.com/payload-manager/payload-manager/sdk"
	"github.com/payload-manager/payload-manager/sdk/payload"
)

// A story is one run of the demo.
type story struct {
	ctx     context.Context
	stack   *e2e.Stack
	client  *sdk.Client
	counted *counter
	traffic Traffic // of the processes that have ended
	markers marker  // of all files
	rows    []row
}

func conduct(ctx context.Context, dir string, most int) error {
	files, err := pick(dir, most)
	if err != nil {
		return err
	}
	data, err := os.MkdirTemp(".", ".demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(data)
	if data, err = filepath.Abs(data); err != nil {
		return err
	}
	fmt.Println("starting Temporal, an S3 server and the daemon")
	stack, err := e2e.Start(ctx, e2e.Settings(data), nil)
	if err != nil {
		return err
	}
	defer stack.Stop()
	s := &story{ctx: ctx, stack: stack, counted: &counter{}}
	return s.tell(files)
}

func (s *story) tell(files []string) (err error) {
	for _, file := range files {
		m, err := markerOf(file)
		if err != nil {
			return err
		}
		s.markers = append(s.markers, m...)
	}
	s.counted.marker = s.markers
	s.client, err = sdk.Dial(s.ctx, s.stack.Config.Listen.Socket, sdk.WithGRPC(grpc.WithStatsHandler(s.counted)))
	if err != nil {
		return err
	}
	defer s.client.Close()
	fmt.Printf("the lives of %d files can be watched at %s while this runs\n\n", len(files), s.stack.Config.Temporal.UI)
	for _, file := range files {
		if err := s.life(file); err != nil {
			return fmt.Errorf("%s: %w", filepath.Base(file), err)
		}
	}
	if err := s.pipeline(files); err != nil {
		return fmt.Errorf("pipeline: %w", err)
	}
	s.print()
	return s.account()
}

// life carries one file through everything.
func (s *story) life(file string) error {
	var made Produced
	if err := s.process(&made, "produce", file); err != nil {
		return err
	}
	s.traffic = s.traffic.plus(made.Traffic)
	name := filepath.Base(file)
	s.note(name, made.Size, "a producer process writes it into ram", made.Took)
	for _, step := range []func(Produced, string) error{
		s.read, s.spillTo(payload.Disk), s.read, s.spillTo(payload.Object), s.read, s.promoteTo(payload.RAM), s.read, s.expire,
	} {
		if err := step(made, name); err != nil {
			return err
		}
	}
	return nil
}

func (s *story) read(made Produced, name string) error {
	var got Consumed
	if err := s.process(&got, "consume", made.ID.String(), made.File); err != nil {
		return err
	}
	s.traffic = s.traffic.plus(got.Traffic)
	if got.Checksum != made.Checksum {
		return fmt.Errorf("the consumer read %s from %s, not %s", got.Checksum, got.Tier, made.Checksum)
	}
	how := "maps it without a copy"
	if got.Tier == payload.Object {
		how = "fetches it by presigned URL"
	}
	s.note(name, made.Size, fmt.Sprintf("a consumer process leases it in %s and %s", got.Tier, how), got.Opened)
	return nil
}

func (s *story) spillTo(tier payload.Tier) func(Produced, string) error {
	return func(made Produced, name string) error {
		began := time.Now()
		_, err := s.client.Spill(s.ctx, made.ID, tier)
		s.note(name, made.Size, "a workflow spills it to "+string(tier), time.Since(began))
		return err
	}
}

func (s *story) promoteTo(tier payload.Tier) func(Produced, string) error {
	return func(made Produced, name string) error {
		began := time.Now()
		_, err := s.client.Promote(s.ctx, made.ID, tier)
		s.note(name, made.Size, "a workflow promotes it to "+string(tier), time.Since(began))
		return err
	}
}

// expire shortens the payload's life to a second and waits until its workflow
// has freed the bytes.
func (s *story) expire(made Produced, name string) error {
	const left = time.Second
	began := time.Now()
	if _, _, err := s.client.Extend(s.ctx, made.ID, left); err != nil {
		return err
	}
	for {
		p, err := s.client.Get(s.ctx, made.ID)
		switch {
		case err != nil:
			return err
		case p.State == payload.StateDeleted && time.Since(began) < left:
			return errors.New("it expired early")
		case p.State == payload.StateDeleted:
			s.note(name, made.Size, "its time to live, a second, is over and every copy is freed", time.Since(began))
			return nil
		}
		select {
		case <-s.ctx.Done():
			return s.ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// process runs a role as a process of its own and reads its answer.
func (s *story) process(answer any, role string, args ...string) error {
	cmd := s.command(role, args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("%s: %w", role, err)
	}
	return json.Unmarshal(out, answer)
}

func (s *story) command(role string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(s.ctx, "/proc/self/exe", append([]string{role, "--socket", s.stack.Config.Listen.Socket, "--"}, args...)...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// pick returns the largest regular files of a folder; by default those of the
// Go installation, which everybody has who can run this.
func pick(dir string, most int) ([]string, error) {
	if dir == "" {
		root, err := exec.Command("go", "env", "GOROOT").Output()
		if err != nil {
			return nil, fmt.Errorf("the Go installation cannot be found (%w): name a folder of files with --dir", err)
		}
		dir = strings.TrimSpace(string(root))
	}
	type candidate struct {
		path string
		size int64
	}
	var found []candidate
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		info, err := entry.Info()
		if err == nil && info.Size() > pieceLength {
			found = append(found, candidate{path, info.Size()})
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("no files in %s", dir)
	}
	slices.SortFunc(found, func(a, b candidate) int { return cmp.Compare(b.size, a.size) })
	var files []string
	for _, f := range found[:min(most, len(found))] {
		files = append(files, f.path)
	}
	return files, nil
}
