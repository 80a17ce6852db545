// Package cli is the human side of Sinawi: the commands, what they print and
// how they explain what went wrong. A command turns its flags into a
// configuration, calls the part that does the work, and shows the result: a
// table for people, or JSON and YAML with -o for programs.
package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/sinawi/sinawi/internal/cli/language"
	"github.com/sinawi/sinawi/internal/instance"
)

// Environment is what a command has from the process that it runs in.
type Environment struct {
	In       io.Reader
	Out, Err io.Writer
	Getenv   func(string) string
	Args     []string // without the program's name
}

// app is what all commands share.
type app struct {
	Environment
	language language.Language
	dir      string // --data-dir as given
}

// dataDirVariable sets the default of --data-dir.
const dataDirVariable = "SINAWI_DATA_DIR"

// Main runs one command and returns the process's exit code.
func Main(env Environment) int {
	a := &app{Environment: env, language: language.FromEnvironment(env.Getenv)}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := a.root()
	root.SetArgs(env.Args)
	root.SetIn(env.In)
	root.SetOut(env.Out)
	root.SetErr(env.Err)
	if err := root.ExecuteContext(ctx); err != nil {
		fmt.Fprintf(env.Err, "%s: %v\n", a.say("error", "오류"), err)
		return 1
	}
	return 0
}

// say returns the sentence in the user's language.
func (a *app) say(en, ko string) string { return language.Text{EN: en, KO: ko}.In(a.language) }

// printf writes a sentence in the user's language.
func (a *app) printf(en, ko string, args ...any) {
	fmt.Fprintf(a.Out, a.say(en, ko), args...)
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use: "sinawi",
		Short: a.say("Sinawi runs containers on one machine or many, with Kubernetes' API",
			"시나위는 쿠버네티스 API로 한 대에서 수만 대까지 컨테이너를 실행합니다"),
		Example:       "  sinawi up --detach\n  sinawi demo\n  sinawi kubectl get pods -A\n  sinawi down --purge",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.CompletionOptions.DisableDefaultCmd = false
	def := a.Getenv(dataDirVariable)
	if def == "" {
		def = instance.DefaultDir
	}
	root.PersistentFlags().StringVar(&a.dir, "data-dir", def, a.say("where all data of this instance lies; set "+dataDirVariable+" to change the default", "이 인스턴스의 모든 데이터를 두는 디렉터리 (기본값은 "+dataDirVariable+" 환경 변수로 바꿀 수 있습니다)"))
	root.AddCommand(
		a.up(), a.down(), a.status(), a.doctor(), a.demo(), a.kubectl(), a.logs(), a.why(), a.plan(), a.image(), a.rotate(), a.version(),
		a.server(), a.runtime(),
	)
	return root
}

func (a *app) instance() (instance.Dir, error) { return instance.Open(a.dir) }
