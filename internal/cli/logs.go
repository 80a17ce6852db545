package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
	"github.com/spf13/cobra"

	"github.com/sinawi/sinawi/internal/instance"
)

func (a *app) logs() *cobra.Command {
	var follow bool
	var lines int
	cmd := &cobra.Command{
		Use:   "logs [server | runtime | POD | TYPE/NAME]",
		Short: a.say("Show the logs of Sinawi's own processes, or of a pod", "시나위 자체 프로세스나 파드의 로그를 보여 줍니다"),
		Long: a.say(
			"Without a name, or with `server` or `runtime`, shows what Sinawi's own processes on this machine logged.\nAny other name is a pod or a workload in the current namespace; for more choices use `sinawi kubectl logs`.",
			"이름이 없거나 `server`, `runtime`이면 이 머신의 시나위 프로세스가 남긴 로그를 보여 줍니다.\n다른 이름은 현재 네임스페이스의 파드나 워크로드입니다. 더 많은 선택은 `sinawi kubectl logs`에 있습니다."),
		Example: "  sinawi logs\n  sinawi logs runtime -f\n  sinawi logs deployment/web --tail 20",
		Args:    cobra.MaximumNArgs(1),
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, a.say("go on with new lines as they come", "새 줄이 나오는 대로 계속 보여 줍니다"))
	cmd.Flags().IntVar(&lines, "tail", 50, a.say("how many of the last lines to show; -1 shows all", "보여 줄 마지막 줄 수 (-1은 전부)"))
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		name := "server"
		if len(args) == 1 {
			name = args[0]
		}
		dir, err := a.instance()
		if err != nil {
			return err
		}
		file, own := map[string]string{"server": dir.ServerLog(), "runtime": dir.RuntimeLog()}[name]
		if own {
			return a.showLog(cmd.Context(), dir, file, lines, follow)
		}
		kubectl := a.kubectl()
		kubectl.SetArgs([]string{"logs", name, fmt.Sprintf("--follow=%t", follow), fmt.Sprintf("--tail=%d", lines)})
		return kubectl.ExecuteContext(cmd.Context())
	}
	return cmd
}

// showLog prints the end of a log file and, if asked, what is added to it.
func (a *app) showLog(ctx context.Context, dir instance.Dir, name string, lines int, follow bool) error {
	file, err := os.Open(name)
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("no log at %s; no sinawi has run there: start one with `sinawi up`, or name its --data-dir", name)
	}
	if err != nil {
		return err
	}
	defer file.Close()
	last, err := lastLines(file, lines)
	if err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	if _, err := io.WriteString(a.Out, last); err != nil || !follow {
		return err
	}
	return followFile(ctx, a.Out, file)
}

// lastLines returns the last n lines, all of them if n is negative, and leaves
// the reader at its end.
func lastLines(r io.Reader, n int) (string, error) {
	var kept []string
	reader := bufio.NewReader(r)
	for {
		line, err := reader.ReadString('\n')
		if line != "" {
			kept = append(kept, line)
		}
		if n >= 0 && len(kept) > n {
			kept = kept[1:]
		}
		if errors.Is(err, io.EOF) {
			return strings.Join(kept, ""), nil
		}
		if err != nil {
			return "", err
		}
	}
}

// followFile copies what is added to file until ctx ends.
func followFile(ctx context.Context, w io.Writer, file *os.File) error {
	watch, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("follow %s: %w", file.Name(), err)
	}
	defer watch.Close()
	if err := watch.Add(file.Name()); err != nil {
		return fmt.Errorf("follow %s: %w", file.Name(), err)
	}
	for {
		if _, err := io.Copy(w, file); err != nil {
			return fmt.Errorf("follow %s: %w", file.Name(), err)
		}
		select {
		case <-ctx.Done():
			return nil
		case _, open := <-watch.Events:
			if !open {
				return nil
			}
		case err := <-watch.Errors:
			return fmt.Errorf("follow %s: %w", file.Name(), err)
		case <-time.After(time.Minute): // in case the kernel dropped an event
		}
	}
}
