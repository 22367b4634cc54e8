// Command bench measures the figures of the README on this machine: each of
// ours beside what it is compared to, in interleaved rounds of one run, with
// the median and the spread of their ratios. Nothing is asserted here; a person
// reads the table.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"slices"

	"github.com/spf13/pflag"

	"github.com/payload-manager/payload-manager/e2e"
)

func main() {
	rounds := pflag.Int("rounds", 5, "rounds of each figure")
	dir := pflag.String("dir", "", "folder for the payloads, on the disk to measure (default: a temporary one here)")
	only := pflag.StringSlice("only", nil, "figures to measure: allocate, lease, open, move")
	profile := pflag.String("cpuprofile", "", "file for a CPU profile of client and daemon, in the format of go tool pprof")
	pflag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	err := profiled(*profile, func() error { return run(ctx, *dir, *rounds, *only) })
	if err != nil {
		log.Fatal(err)
	}
}

// profiled writes a CPU profile of what do does, where a file is named.
func profiled(path string, do func() error) error {
	if path == "" {
		return do()
	}
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := pprof.StartCPUProfile(file); err != nil {
		return err
	}
	err = do()
	pprof.StopCPUProfile()
	return errors.Join(err, file.Close())
}

func run(ctx context.Context, dir string, rounds int, only []string) error {
	if dir == "" {
		var err error
		if dir, err = os.MkdirTemp(".", ".bench-"); err != nil {
			return err
		}
		defer os.RemoveAll(dir)
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	stack, err := e2e.Start(ctx, e2e.Settings(dir), nil)
	if err != nil {
		return err
	}
	defer stack.Stop()
	echo, err := startEcho(dir)
	if err != nil {
		return err
	}
	defer echo.Close()

	fmt.Printf("%d cores, %s; median of %d interleaved rounds (least to most)\n\n", runtime.NumCPU(), runtime.Version(), rounds)
	b := bench{ctx: ctx, stack: stack, echo: echo, rounds: rounds, dir: dir}
	for _, f := range []struct {
		name    string
		measure func() error
	}{{"lease", b.leases}, {"open", b.opens}, {"move", b.moves}, {"allocate", b.allocations}} {
		if len(only) > 0 && !slices.Contains(only, f.name) {
			continue
		}
		if err := f.measure(); err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
	}
	return nil
}

// bench is what every figure needs.
type bench struct {
	ctx    context.Context
	stack  *e2e.Stack
	echo   *echo
	rounds int
	dir    string
}
