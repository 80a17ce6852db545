package cli

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/sinawi/sinawi/internal/cluster"
)

// rewriteTimeout is how long everything that is encrypted may take to be
// written anew; a thousand secrets take about a second.
const rewriteTimeout = 10 * time.Minute

func (a *app) rotate() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "rotate",
		Short:   a.say("Replace the cluster's keys while it runs", "실행 중인 클러스터의 키를 바꿉니다"),
		Example: "  sinawi rotate encryption-key\n  sinawi rotate token-key",
	}
	cmd.AddCommand(a.rotateEncryptionKey(), a.rotateTokenKey())
	return cmd
}

func (a *app) rotateEncryptionKey() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "encryption-key",
		Short: a.say("Encrypt all secrets at rest with a new key", "저장된 모든 시크릿을 새 키로 암호화합니다"),
		Long: a.say(
			"Makes a new key and has the server write every secret with it. Nothing stops meanwhile.\nThe old key then serves only to restore backups of before; it is moved to a file of its own that may be removed.",
			"새 키를 만들고 서버가 모든 시크릿을 그 키로 다시 쓰게 합니다. 그동안 아무것도 멈추지 않습니다.\n이전 키는 전에 만든 백업을 복원할 때만 필요하며, 지워도 되는 별도의 파일로 옮깁니다."),
		Example: "  sinawi rotate encryption-key",
		Args:    cobra.NoArgs,
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		dir, err := a.instance()
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), rewriteTimeout)
		defer cancel()
		r, err := cluster.RotateEncryptionKey(ctx, dir)
		if err != nil {
			return err
		}
		if !r.Done {
			a.printf("key %s made; the server writes everything with it when it starts\n", "키 %s를 만들었습니다. 서버가 시작할 때 모두 이 키로 다시 씁니다\n", r.Key)
			return nil
		}
		a.printf("everything is encrypted with key %s\nbackups of before need %s; without them it may be removed\n",
			"모두 키 %s로 암호화했습니다\n전에 만든 백업에는 %s 파일이 필요합니다. 백업이 없으면 지워도 됩니다\n", r.Key, r.Retired)
		return nil
	}
	return cmd
}

func (a *app) rotateTokenKey() *cobra.Command {
	var drop bool
	cmd := &cobra.Command{
		Use:     "token-key",
		Short:   a.say("Sign service account tokens with a new key", "서비스 어카운트 토큰에 새 키로 서명합니다"),
		Example: "  sinawi rotate token-key\n  sinawi rotate token-key --drop-old",
		Args:    cobra.NoArgs,
	}
	cmd.Flags().BoolVar(&drop, "drop-old", false, a.say(
		"end all tokens that were signed before, as after a theft; pods get new ones within minutes or when they are started again",
		"전에 서명한 토큰을 모두 끝냅니다 (예: 도난당했을 때). 파드는 몇 분 안에 또는 다시 시작할 때 새 토큰을 받습니다"))
	cmd.RunE = func(*cobra.Command, []string) error {
		dir, err := a.instance()
		if err != nil {
			return err
		}
		if err := cluster.RotateTokenKey(dir, drop); err != nil {
			return err
		}
		a.printf("tokens are signed with a new key from now on\n", "이제부터 토큰에 새 키로 서명합니다\n")
		return nil
	}
	return cmd
}
