// Command demo walks real files through the whole system: a producer process
// writes each into shared memory, a consumer process leases and reads it
// without a copy, it moves to disk, to object storage and back, and expires;
// then the same as a Temporal pipeline whose workers are processes of their own.
//
// It ends with a table of what moved where and how long it took, and with a
// count of payload bytes in the control plane: every gRPC message of every
// process is searched for pieces of the files, and so is the exported history
// of every workflow.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := command().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		stop()
		os.Exit(1)
	}
}

func command() *cobra.Command {
	var dir string
	var most int
	demo := &cobra.Command{
		Use:           "demo",
		Short:         "walk real files through ram, disk and object storage",
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE:          func(c *cobra.Command, _ []string) error { return conduct(c.Context(), dir, most) },
	}
	demo.Flags().StringVar(&dir, "dir", "", "folder of the files (default: large files of the Go installation)")
	demo.Flags().IntVar(&most, "files", 4, "files at most, the largest first")
	demo.AddCommand(role("produce", produce), role("consume", consume), role("work", work))
	return demo
}

// role is a command that the demo starts as a process of its own.
func role(name string, run func(ctx context.Context, socket string, args []string) error) *cobra.Command {
	var socket string
	c := &cobra.Command{
		Use: name, Hidden: true,
		RunE: func(c *cobra.Command, args []string) error { return run(c.Context(), socket, args) },
	}
	c.Flags().StringVar(&socket, "socket", "", "the daemon's socket")
	return c
}
