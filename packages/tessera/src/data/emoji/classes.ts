/**
 * Which emoji belongs to which class.
 *
 * The icon sets sort their emoji into nine categories of the Unicode standard ("Food & Drink", "Objects" …). Those mix
 * things that share nothing at 32 pixels, so each category is divided here into classes that a viewer can tell apart:
 * the icons of a category go to the class that names them, the others to the category's default class.
 * 25 classes at most, because a class needs some hundred pictures before a generator can learn it.
 *
 * Left out: skin tones, the man/woman/hair variants of a person (near-duplicates of the neutral one), whole figures
 * (limbs thinner than a pixel), families, and pictures that fit no class. Names are those of Noto, then Twemoji.
 */

/** Class of an emoji, from its name and category in the icon sets; null when it is left out of the data set. */
export function emojiClassOf(name: string, category: string): string | null {
  const rule = emojiCategoryRules[category];
  if (rule === undefined) return null;
  const named = namedClasses.get(`${category}/${name}`);
  return named === undefined ? rule.otherwise : named;
}

/** All class names, in the order of their labels (sorted). */
export function emojiClassNames(): string[] {
  const names = new Set<string>();
  for (const rule of Object.values(emojiCategoryRules)) {
    for (const name of [rule.otherwise, ...Object.keys(rule.named)])
      if (name !== null && name !== LEFT_OUT) names.add(name);
  }
  return [...names].sort();
}

export interface EmojiCategoryRule {
  /** Class of every icon of the category that is not named below; null leaves them out. */
  readonly otherwise: string | null;
  /** Class → icon names, separated by white space. */
  readonly named: Readonly<Record<string, string>>;
}

/** Key of `named` for the icons that no class wants. */
export const LEFT_OUT = '-';

export const emojiCategoryRules: Readonly<Record<string, EmojiCategoryRule>> = {
  'Smileys & Emotion': {
    otherwise: 'faces',
    named: {
      hearts: `heart-exclamation red-heart heart-on-fire mending-heart beating-heart broken-heart two-hearts
        sparkling-heart growing-heart heart-with-arrow blue-heart green-heart yellow-heart purple-heart
        heart-with-ribbon revolving-hearts heart-decoration black-heart white-heart brown-heart orange-heart
        light-blue-heart grey-heart pink-heart`,
      'animal-faces': `grinning-cat-with-smiling-eyes cat-with-tears-of-joy grinning-cat smiling-cat-with-heart-eyes
        cat-with-wry-smile kissing-cat pouting-cat crying-cat weary-cat see-no-evil-monkey hear-no-evil-monkey
        speak-no-evil-monkey`,
      'office-devices': 'love-letter',
      [LEFT_OUT]: `eye-in-speech-bubble kiss-mark anger-symbol zzz collision sweat-droplets dashing-away dizzy
        speech-balloon thought-balloon hundred-points hole left-speech-bubble right-anger-bubble fight-cloud
        pile-of-poo alien-monster`,
    },
  },
  'People & Body': {
    otherwise: null,
    named: {
      hands: `raised-fist raised-hand victory-hand writing-hand index-pointing-up backhand-index-pointing-up
        backhand-index-pointing-down backhand-index-pointing-left backhand-index-pointing-right oncoming-fist
        waving-hand ok-hand thumbs-up thumbs-down clapping-hands open-hands nail-polish flexed-biceps
        hand-with-fingers-splayed middle-finger vulcan-salute raising-hands folded-hands pinched-fingers pinching-hand
        sign-of-the-horns call-me-hand raised-back-of-hand left-facing-fist right-facing-fist handshake crossed-fingers
        love-you-gesture palms-up-together selfie hand-with-index-finger-and-thumb-crossed rightwards-hand
        leftwards-hand palm-down-hand palm-up-hand index-pointing-at-the-viewer heart-hands leftwards-pushing-hand
        rightwards-pushing-hand leftwards-thumb-sign rightwards-thumb-sign`,
      people: `santa-claus mrs-claus mx-claus boy girl man woman person child older-person old-man old-woman baby
        police-officer person-with-veil person-blond-hair person-with-skullcap person-wearing-turban
        construction-worker princess prince baby-angel person-tipping-hand guard person-getting-massage
        person-getting-haircut detective person-gesturing-no person-gesturing-ok person-bowing person-raising-hand
        person-frowning person-pouting person-facepalming person-in-tuxedo person-shrugging ninja superhero
        supervillain deaf-person artist astronaut cook factory-worker farmer firefighter health-worker judge mechanic
        office-worker person-bald person-curly-hair person-red-hair person-white-hair pilot scientist singer student
        teacher technologist person-beard woman-with-headscarf person-in-steamy-room mage fairy vampire elf zombie
        genie person-with-crown man-bald woman-bald man-curly-hair woman-curly-hair man-red-hair woman-red-hair
        man-white-hair woman-white-hair man-blond-hair woman-blond-hair pregnant-woman breast-feeding
        person-feeding-baby bust-in-silhouette busts-in-silhouette`,
    },
  },
  'Animals & Nature': {
    otherwise: 'mammals',
    named: {
      'animal-faces': `mouse-face cow-face tiger-face rabbit-face cat-face dragon-face horse-face monkey-face dog-face
        pig-face frog hamster wolf bear panda koala lion fox unicorn raccoon pig-nose boar polar-bear moose giraffe`,
      birds: `rooster chicken turkey hatching-chick baby-chick front-facing-baby-chick bird black-bird phoenix penguin
        dove eagle duck owl peacock parrot swan dodo flamingo goose feather wing`,
      'sea-reptiles-bugs': `crocodile snake lizard turtle sauropod t-rex dragon whale spouting-whale dolphin fish
        tropical-fish blowfish shark octopus spiral-shell crab shrimp squid lobster oyster seal jellyfish coral orca
        snail bug ant honeybee lady-beetle spider scorpion butterfly cricket mosquito fly worm beetle cockroach
        monarch-butterfly microbe`,
      plants: `shamrock seedling evergreen-tree deciduous-tree palm-tree cactus tulip cherry-blossom rose hibiscus
        sunflower blossom sheaf-of-rice herb four-leaf-clover maple-leaf fallen-leaf leaf-fluttering-in-wind bouquet
        white-flower wilted-flower potted-plant lotus hyacinth leafless-tree rosette mushroom`,
      [LEFT_OUT]: 'paw-prints spider-web empty-nest nest-with-eggs',
    },
  },
  'Food & Drink': {
    otherwise: 'food',
    named: {
      'fruit-vegetables': `chestnut hot-pepper ear-of-corn brown-mushroom tomato eggplant grapes melon watermelon
        tangerine lemon lime banana pineapple red-apple green-apple pear peach cherries strawberry avocado cucumber
        potato carrot peanuts kiwi-fruit coconut broccoli leafy-green mango garlic onion blueberries bell-pepper olive
        beans ginger-root pea-pod root-vegetable pickle roasted-sweet-potato`,
      drinks: `hot-beverage teacup-without-handle sake wine-glass cocktail-glass tropical-drink beer-mug
        clinking-beer-mugs baby-bottle bottle-with-popping-cork clinking-glasses tumbler-glass glass-of-milk
        cup-with-straw beverage-box mate bubble-tea teapot pouring-liquid jar amphora honey-pot canned-food salt`,
      tools: 'kitchen-knife fork-and-knife spoon chopsticks',
      [LEFT_OUT]: 'ice',
    },
  },
  'Travel & Places': {
    otherwise: 'buildings-places',
    named: {
      vehicles: `ferry sailboat airplane motorcycle racing-car rocket helicopter locomotive railway-car
        high-speed-train bullet-train train metro light-rail tram tram-car bus oncoming-bus trolleybus minibus
        ambulance fire-engine police-car oncoming-police-car taxi oncoming-taxi automobile oncoming-automobile
        sport-utility-vehicle delivery-truck articulated-lorry tractor monorail mountain-railway suspension-railway
        mountain-cableway aerial-tramway ship speedboat bicycle motor-boat small-airplane airplane-departure
        airplane-arrival passenger-ship kick-scooter motor-scooter canoe flying-saucer skateboard auto-rickshaw
        pickup-truck roller-skate motorized-wheelchair manual-wheelchair satellite`,
      'sky-weather': `sun cloud umbrella umbrella-with-rain-drops comet high-voltage sun-behind-cloud
        cloud-with-lightning-and-rain snowflake star cyclone rainbow globe-showing-europe-africa
        globe-showing-americas globe-showing-asia-australia new-moon waxing-crescent-moon first-quarter-moon
        waxing-gibbous-moon full-moon waning-gibbous-moon last-quarter-moon waning-crescent-moon crescent-moon
        new-moon-face first-quarter-moon-face last-quarter-moon-face full-moon-face sun-with-face glowing-star
        shooting-star sun-behind-small-cloud sun-behind-large-cloud sun-behind-rain-cloud cloud-with-rain
        cloud-with-snow cloud-with-lightning tornado fog wind-face droplet fire ringed-planet meteor water-wave
        snowman snowman-without-snow milky-way`,
      clocks: `watch alarm-clock stopwatch timer-clock mantelpiece-clock compass one-oclock two-oclock three-oclock
        four-oclock five-oclock six-oclock seven-oclock eight-oclock nine-oclock ten-oclock eleven-oclock
        twelve-oclock one-thirty two-thirty three-thirty four-thirty five-thirty six-thirty seven-thirty eight-thirty
        nine-thirty ten-thirty eleven-thirty twelve-thirty`,
      'signs-shapes': 'stop-sign',
      clothing: 'luggage',
      tools: 'hourglass-done hourglass-not-done anchor closed-umbrella thermometer bellhop-bell oil-drum wheel',
      [LEFT_OUT]: `hot-springs globe-with-meridians world-map map-of-japan barber-pole seat motorway railway-track
        bus-stop horizontal-traffic-light vertical-traffic-light construction police-car-light ring-buoy brick
        parachute rock wood carousel-horse fuel-pump playground-slide`,
    },
  },
  Activities: {
    otherwise: 'sport-games',
    named: {
      hearts: 'heart-suit',
      clothing: 'running-shirt martial-arts-uniform ribbon',
      tools: 'water-pistol thread yarn sewing-needle magic-wand',
      plants: 'christmas-tree tanabata-tree pine-decoration',
      [LEFT_OUT]: `sparkles fireworks sparkler moon-viewing-ceremony performing-arts framed-picture japanese-dolls
        carp-streamer wind-chime reminder-ribbon knot spade-suit club-suit diamond-suit mirror-ball`,
    },
  },
  Objects: {
    otherwise: 'tools',
    named: {
      clothing: `backpack graduation-cap top-hat crown womans-hat glasses necktie t-shirt jeans dress kimono bikini
        womans-clothes purse handbag clutch-bag mans-shoe running-shoe high-heeled-shoe womans-sandal womans-boot
        sunglasses sari lab-coat goggles hiking-boot flat-shoe safety-vest billed-cap scarf gloves coat socks
        ballet-shoes one-piece-swimsuit briefs shorts thong-sandal military-helmet rescue-workers-helmet
        shopping-bags briefcase`,
      'office-devices': `keyboard telephone envelope movie-camera film-frames clapper-board credit-card yen-banknote
        dollar-banknote euro-banknote pound-banknote chart-increasing-with-yen laptop computer-disk floppy-disk
        optical-disk dvd file-folder open-file-folder page-with-curl page-facing-up calendar tear-off-calendar
        card-index chart-increasing chart-decreasing bar-chart clipboard bookmark-tabs ledger notebook
        notebook-with-decorative-cover closed-book open-book green-book blue-book orange-book books scroll memo pager
        fax-machine outbox-tray inbox-tray package e-mail incoming-envelope envelope-with-arrow newspaper mobile-phone
        mobile-phone-with-arrow camera camera-with-flash video-camera television radio videocassette film-projector
        desktop-computer printer computer-mouse trackball card-index-dividers card-file-box file-cabinet
        spiral-notepad spiral-calendar rolled-up-newspaper receipt identification-card ballot-box-with-ballot
        musical-keyboard musical-score x-ray bookmark label`,
      [LEFT_OUT]: `musical-note musical-notes placard bubbles moai coffin headstone funeral-urn money-with-wings
        chains broken-chain link drop-of-blood hair-pick dna hamsa
        nazar-amulet`,
    },
  },
  Symbols: {
    otherwise: 'letter-buttons',
    named: {
      arrows: `left-right-arrow up-down-arrow up-left-arrow up-right-arrow down-right-arrow down-left-arrow
        right-arrow-curving-left left-arrow-curving-right eject-button fast-forward-button fast-reverse-button
        fast-up-button fast-down-button next-track-button last-track-button play-or-pause-button pause-button
        stop-button record-button play-button reverse-button right-arrow right-arrow-curving-up
        right-arrow-curving-down left-arrow up-arrow down-arrow shuffle-tracks-button repeat-button
        repeat-single-button clockwise-vertical-arrows counterclockwise-arrows-button upwards-button downwards-button`,
      'zodiac-faith': `orthodox-cross star-and-crescent peace-symbol yin-yang wheel-of-dharma aries taurus
        gemini cancer leo virgo libra scorpio sagittarius capricorn aquarius pisces ophiuchus atom-symbol latin-cross
        star-of-david dotted-six-pointed-star om menorah place-of-worship khanda`,
      'signs-shapes': `black-small-square white-small-square white-medium-square black-medium-square
        white-medium-small-square black-medium-small-square warning white-circle black-circle no-entry
        black-large-square white-large-square hollow-red-circle diamond-with-a-dot no-mobile-phones radio-button
        no-one-under-eighteen black-square-button white-square-button red-circle blue-circle large-orange-diamond
        large-blue-diamond small-orange-diamond small-blue-diamond red-triangle-pointed-up red-triangle-pointed-down
        prohibited no-smoking no-littering non-potable-water no-bicycles no-pedestrians children-crossing
        orange-circle yellow-circle green-circle purple-circle brown-circle red-square blue-square orange-square
        yellow-square green-square purple-square brown-square radioactive
        biohazard`,
      [LEFT_OUT]: `copyright registered trade-mark double-exclamation-mark exclamation-question-mark female-sign
        male-sign infinity medical-symbol fleur-de-lis transgender-symbol check-mark multiply sparkle cross-mark
        red-question-mark white-question-mark white-exclamation-mark red-exclamation-mark plus minus divide
        curly-loop double-curly-loop wavy-dash part-alternation-mark back-arrow end-arrow on-exclamation-arrow
        soon-arrow top-arrow name-badge japanese-symbol-for-beginner trident-emblem heavy-dollar-sign
        currency-exchange heavy-equals-sign splatter keycap bright-button dim-button`,
    },
  },
  Flags: { otherwise: 'flags', named: {} },
};

/** `category/name` → class, unfolded from the lists above. */
const namedClasses = new Map<string, string | null>();
for (const [category, rule] of Object.entries(emojiCategoryRules)) {
  for (const [className, names] of Object.entries(rule.named)) {
    for (const name of names.trim().split(/\s+/)) {
      namedClasses.set(`${category}/${name}`, className === LEFT_OUT ? null : className);
    }
  }
}
