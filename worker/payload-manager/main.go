// Command payload-manager is the daemon of one host. It chooses between running
// alone and running with all it stands on; worker does either.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/payload-manager/payload-manager/worker"
	"github.com/payload-manager/payload-manager/worker/config"
	"github.com/payload-manager/payload-manager/worker/vault"
)

func main() {
	ctx, restore := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, restore) // a second signal kills at once
	os.Exit(execute(ctx, os.Args[1:]))
}

// The exit codes beside 0.
const (
	failed = 1
	misuse = 2 // no such command, flag or flag's value
)

func execute(ctx context.Context, args []string) int {
	code := misuse
	root := commands(func() { code = failed })
	root.SetArgs(args)
	if err := root.ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "payload-manager:", strings.ReplaceAll(err.Error(), "\n", "; "))
		return code
	}
	return 0
}

// commands are root and all below it; understood is called when the command
// line holds no mistake.
func commands(understood func()) *cobra.Command {
	var file string
	root := &cobra.Command{
		Use:              "payload-manager",
		Short:            "The daemon of one host: it keeps payloads in memory, on disk and in object storage",
		Args:             cobra.NoArgs,
		Version:          worker.Version,
		SilenceErrors:    true,
		SilenceUsage:     true,
		PersistentPreRun: func(*cobra.Command, []string) { understood() },
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := config.Load(file, cmd.Flags(), os.Environ())
			if err != nil {
				return err
			}
			return worker.Run(cmd.Context(), c)
		},
	}
	root.PersistentFlags().StringVar(&file, "config", "", "configuration file; payload-manager config prints one with every key")
	config.Flags(root.PersistentFlags())
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return config.FlagError(err) })
	root.AddCommand(dev(&file), vaultCommand(), example())
	return root
}

func dev(file *string) *cobra.Command {
	return &cobra.Command{
		Use:   "dev",
		Short: "Run with a Temporal and an S3 server of its own, all data in .dev",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			defaults := config.Default()
			defaults.DataDir = ".dev"
			c, err := defaults.With(*file, cmd.Flags(), os.Environ())
			if err != nil {
				return err
			}
			return worker.Develop(cmd.Context(), c, cmd.OutOrStdout())
		},
	}
}

func vaultCommand() *cobra.Command {
	var o vault.Options
	command := &cobra.Command{
		Use:   "vault",
		Short: "Keep the memory of payloads in ram while no daemon runs",
		Long: "Keep the memory of payloads in ram while no daemon runs. The daemon starts this by itself unless vault.socket\n" +
			"is set; then a supervisor runs it, apart from the daemon, and restarts neither for the other's sake.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.Ready = cmd.OutOrStdout()
			return worker.Vault(cmd.Context(), o, config.Default().Log)
		},
	}
	command.Flags().StringVar(&o.Socket, "socket", config.Default().VaultSocket(), "Unix socket to listen at")
	command.Flags().IntVar(&o.EndWith, "end-with", 0, "number of a process: end when it ends; for tests, which leave nothing running")
	return command
}

func example() *cobra.Command {
	return &cobra.Command{
		Use:   "config",
		Short: "Print a configuration file of every key, its meaning and its default",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := cmd.OutOrStdout().Write(config.Example())
			return err
		},
	}
}
